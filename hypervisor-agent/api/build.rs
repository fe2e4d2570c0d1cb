//! Generates the wire types. protoc comes from Debian's protobuf-compiler (`make test` installs it).

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protos = ["proto/xenith/agent/v1/agent.proto", "proto/xenith/agent/v1/enrolment.proto"];
    for proto in protos {
        println!("cargo::rerun-if-changed={proto}");
    }
    tonic_prost_build::configure().compile_protos(&protos, &["proto"])?;
    Ok(())
}
