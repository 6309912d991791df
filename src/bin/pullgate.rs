//! `pullgate`: the operator's tool. All of it is in [`pullgate::cli`].

fn main() -> std::process::ExitCode {
    pullgate::cli::main()
}
