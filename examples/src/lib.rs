//! The examples are the `.rs` files beside this folder; run one with `cargo run -p handfast-examples --example NAME`.
