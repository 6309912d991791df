//! `pullgate`: the operator's tool. All of it is in [`pullgate::tool::cli`].

fn main() -> std::process::ExitCode {
    pullgate::tool::cli::main()
}
