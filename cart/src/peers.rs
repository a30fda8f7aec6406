//! Other services, behind ports.

mod product;

pub(crate) use product::GrpcProducts;
