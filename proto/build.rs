//! Compiles the `.proto` files with protox, so that no `protoc` needs to be installed.
#![allow(clippy::expect_used, reason = "a build script has nobody to give an error to")]

use std::{env, fs, path::PathBuf};

use prost::Message;

const FILES: [&str; 8] = [
    "money/v1/money.proto",
    "product/v1/product.proto",
    "cart/v1/cart.proto",
    "inventory/v1/inventory.proto",
    "payment/v1/payment.proto",
    "checkout/v1/checkout.proto",
    "orders/v1/orders.proto",
    "notification/v1/notification.proto",
];

fn main() {
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["."]).expect("the .proto files compile");
    #[allow(clippy::disallowed_methods, reason = "cargo's interface to build scripts")]
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec()).expect("OUT_DIR is writable");
    tonic_prost_build::configure()
        .compile_fds(descriptors)
        .expect("code is generated");
}
