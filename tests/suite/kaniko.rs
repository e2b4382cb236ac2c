//! Inside kaniko, where files that the helper leaves in the root file system would become part of the image.

use std::fs;
use std::path::Path;
use std::rc::Rc;

use crate::HOST;
use crate::helper::{Helper, entries};
use crate::namespace::{Namespace, skip};
use crate::support::aws::Aws;

/// A mount namespace whose root is a directory of its own with all that the machine's root holds, and `/kaniko`.
fn kaniko(dir: &Path) -> Rc<Namespace> {
    Rc::new(Namespace::of_mounts(&format!(
        "cd {}; mkdir root; mount -t tmpfs -o mode=755 tmpfs root
         for path in /*; do
           if [ -L \"$path\" ]; then cp -d \"$path\" root/
           elif [ -d \"$path\" ]; then mkdir \"root$path\"; mount --rbind \"$path\" \"root$path\"; fi
         done
         mkdir root/kaniko root/machine; cd root; pivot_root . machine; cd /; umount -l /machine",
        dir.display()
    )))
}

#[test]
fn no_token_is_left_where_kaniko_takes_it_for_a_part_of_the_image() {
    if !nix::unistd::geteuid().is_root() {
        return skip("kaniko", "mount namespaces need root");
    }
    let aws = Aws::start();
    let dir = tempfile::tempdir().expect("a directory");
    let kaniko = kaniko(dir.path());
    let helper = || Helper::of(&aws).inside(&kaniko).var("AWS_ECR_LOG", "warn");
    let outside = tempfile::tempdir().expect("a directory");
    let outside_path = outside.path().to_str().expect("UTF-8");
    let linked = kaniko.command("ln").args(["-s", outside_path, "/kaniko/link"]).status();
    assert!(linked.expect("it runs").success());
    // The user's own place, another one, and some that only seem to be right.
    for (dir, named) in [
        ("", ""),
        (outside_path, ""),
        ("/kaniko-cache", ""),
        (&format!("/kaniko/..{outside_path}"), ""),
        ("/kaniko/link/cache", ""),
        (outside_path, "kaniko"),
        (outside_path, "/no/such/directory"),
    ] {
        let calls = aws.count();
        let helper = helper().var("AWS_ECR_CACHE_DIR", dir).var("KANIKO_DIR", named);
        for call in 1..=2 {
            let ran = helper.get(HOST);
            assert_eq!((ran.code, aws.count()), (Some(0), calls + call), "{dir}: a pull is worth more: {ran:?}");
            for words in ["not cached", "kaniko would push", "AWS_ECR_CACHE_DIR", "/kaniko/cache"] {
                assert!(ran.stderr.contains(words), "{dir}: {words} in {}", ran.stderr);
            }
        }
        for place in [helper.home(), outside.path()] {
            let left: Vec<_> = fs::read_dir(place).expect("a directory").flatten().map(|file| file.path()).collect();
            assert!(left.is_empty(), "{dir}: {left:?}");
        }
    }

    let calls = aws.count();
    let helper = helper().var("AWS_ECR_CACHE_DIR", "/kaniko/cache");
    for _ in 0..2 {
        helper.get(HOST).password_for(HOST);
    }
    assert_eq!(aws.count(), calls + 1, "kaniko's own directory is not part of the image");
}

#[test]
fn kaniko_may_have_its_directory_elsewhere() {
    let aws = Aws::start();
    let helper = Helper::of(&aws).var("AWS_ECR_LOG", "warn");
    let dir = helper.home().join("kaniko").display().to_string();
    let helper = helper.var("KANIKO_DIR", &dir);
    helper.get(HOST).password_for(HOST);
    assert_eq!(helper.entries().len(), 1, "a variable alone is no kaniko");

    fs::create_dir(&dir).expect("a directory");
    fs::remove_dir_all(helper.cache_dir()).expect("a cache");
    let ran = helper.get(HOST);
    assert!(ran.stderr.contains(&format!("set AWS_ECR_CACHE_DIR to {dir}/cache")), "{ran:?}");
    assert!(!helper.cache_dir().exists());
    let cache = format!("{dir}/cache");
    let helper = helper.var("AWS_ECR_CACHE_DIR", &cache);
    helper.get(HOST).password_for(HOST);
    assert_eq!(entries(Path::new(&cache)).len(), 1);
}

#[test]
fn the_recipe_puts_everything_below_kanikos_own_directory() {
    let recipes = fs::read_to_string("packaging/recipes/README.md").expect("the recipes");
    let recipe = recipes.split("```dockerfile\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a recipe");
    let mut places = 0;
    for line in recipe.lines() {
        let place = match line.split_once(' ').expect("an instruction") {
            ("FROM", _) => continue,
            ("COPY", rest) => rest.rsplit(' ').next(),
            ("ENV", rest) => rest.strip_prefix("AWS_ECR_CACHE_DIR="),
            other => panic!("{other:?}"),
        };
        assert!(place.is_some_and(|place| place.starts_with("/kaniko/")), "{line}");
        places += 1;
    }
    assert_eq!(places, 3, "program, configuration and cache: {recipe}");
}
