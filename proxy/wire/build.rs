//! Compiles the control stream's protobuf with a pure-Rust compiler.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["proto/control.proto", "proto/trace.proto"], ["proto"])?;
    // The method is called Connect, as the transport's own constructor would be: callers make the channel.
    tonic_prost_build::configure().build_transport(false).compile_fds(files)?;
    Ok(())
}
