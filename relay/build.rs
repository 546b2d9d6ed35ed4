//! Has the relay compiled anew when the console was built: its files are embedded (`api/console.rs`).

fn main() {
    println!("cargo:rerun-if-changed=console/dist");
}
