//! Prints the page of all series; `make generate` writes it to `docs/metrics.md`.

fn main() {
    print!("{}", sluice_signals::document());
}
