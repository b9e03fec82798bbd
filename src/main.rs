use std::process::ExitCode;

use cxone_sync::cli;

fn main() -> ExitCode {
    let cli = cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            cli::complain(&format!("cannot start the runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let exit = runtime.block_on(cli::run(cli));
    // What still blocks on a disk or a name server must not hold up the end.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    exit.into()
}
