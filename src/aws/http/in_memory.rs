//! Answers of a fuzz target in place of the network: every connection leads into memory.

use std::sync::{Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, copy, duplex, sink};

/// The answers of the next connections. The last one stays.
static ANSWERS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Sets what the next connections answer, each with one text: the head and the body.
pub fn answer_with<'a>(answers: impl DoubleEndedIterator<Item = &'a [u8]>) {
    *ANSWERS.lock().unwrap_or_else(PoisonError::into_inner) = answers.rev().map(<[u8]>::to_vec).collect();
}

/// A connection whose other end answers the first request, and closes it.
pub(super) fn connection() -> DuplexStream {
    let mut answers = ANSWERS.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = if answers.len() > 1 { answers.pop() } else { answers.last().cloned() }.unwrap_or_default();
    let (client, mut server) = duplex(64 * 1024);
    tokio::spawn(async move {
        let _ = server.read(&mut [0; 1024]).await;
        let _ = server.write_all(&answer).await;
        let _ = server.shutdown().await;
        copy(&mut server, &mut sink()).await
    });
    client
}
