//! The interfaces of the services: generated gRPC clients and servers; shared ids, reasons and events.

pub mod convert;
pub mod events;
mod fact;
pub mod ids;
mod reason;
pub mod status;

pub use fact::Fact;
pub use reason::Reason;

/// The compiled `.proto` files, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

macro_rules! package {
    ($name:ident, $package:literal) => {
        #[allow(
            clippy::all,
            clippy::pedantic,
            clippy::as_conversions,
            clippy::allow_attributes_without_reason,
            unreachable_pub,
            missing_docs,
            reason = "generated code"
        )]
        pub mod $name {
            pub mod v1 {
                tonic::include_proto!($package);
            }
        }
    };
}

package!(money, "money.v1");
package!(product, "product.v1");
package!(cart, "cart.v1");
package!(inventory, "inventory.v1");
package!(payment, "payment.v1");
package!(checkout, "checkout.v1");
package!(orders, "orders.v1");
package!(notification, "notification.v1");
