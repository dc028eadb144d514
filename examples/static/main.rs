//! Greets whoever is named, and says which files the image has beside it.

use std::fs;

fn main() -> std::io::Result<()> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "world".to_owned());
    println!("hello {name}");
    let mut names: Vec<_> = fs::read_dir("/")?
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()?;
    names.sort();
    println!("{}", names.join(" "));
    Ok(())
}
