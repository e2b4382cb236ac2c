//! What the tests and the demo share: stand-ins on loopback, and the program as a process.

pub mod aws;
mod credentials;
pub mod tls;

use std::net::TcpListener;

/// Serves `app` from threads of its own until the process ends.
pub fn serve(listener: TcpListener, app: axum::Router) {
    listener.set_nonblocking(true).expect("a non-blocking listener");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, app).await.expect("a server that goes on");
        });
    });
}
