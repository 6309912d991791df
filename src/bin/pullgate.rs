//! `pullgate`, the operator's tool. [`pullgate::tool::cli`] implements it.

fn main() -> std::process::ExitCode {
    pullgate::tool::cli::main()
}
