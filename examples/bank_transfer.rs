//! bank_transfer
fn main() {}
