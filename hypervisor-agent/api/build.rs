//! Generates the wire types, and leaves what protoc read for the test of it. protoc comes from Debian's protobuf-compiler (`make test` installs it).

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protos = ["proto/xenith/agent/v1/agent.proto", "proto/xenith/agent/v1/enrolment.proto"];
    for proto in protos {
        println!("cargo::rerun-if-changed={proto}");
    }
    let read = std::path::Path::new(&std::env::var("OUT_DIR")?).join("agent.bin");
    tonic_prost_build::configure().file_descriptor_set_path(read).compile_protos(&protos, &["proto"])?;
    Ok(())
}
