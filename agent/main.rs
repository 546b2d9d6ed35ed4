//! The `tidegate-agent` binary.

fn main() -> std::process::ExitCode {
    tidegate_agent::cli::main()
}
