//! The bindings against the headers and the library that are installed on this machine.
#![allow(unsafe_code)]

#[path = "../../examples/regenerate/generate.rs"]
mod generate;

mod bindings;
mod loading;
