//! The machine-readable facts of a refusal.

macro_rules! facts {
    ($($(#[$doc:meta])* $variant:ident = $key:literal;)*) => {
        /// A machine-readable fact: an entry of `google.rpc.ErrorInfo.metadata` in gRPC, a member of the problem or a
        /// header in REST. [`crate::Reason::facts`] lists the facts of each reason.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Fact { $($(#[$doc])* $variant,)* }

        impl Fact {
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its key in the metadata.
            pub const fn key(self) -> &'static str {
                match self { $(Self::$variant => $key),* }
            }

            pub fn parse(key: &str) -> Option<Self> {
                match key { $($key => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

facts! {
    /// The limit that was exceeded: an integer.
    Max = "max";
    /// The current version of the cart: an integer.
    Version = "version";
    /// The checkout in progress: a UUID.
    CheckoutId = "checkout_id";
    /// JSON: `[{"product_id","old_minor","new_minor"}]`.
    Changes = "changes";
    /// The total at the current prices, in minor units: an integer.
    Total = "total_minor";
    /// JSON: an array of integers.
    ProductIds = "product_ids";
    /// JSON: `[{"product_id","requested","available"}]`.
    Shortages = "shortages";
}
