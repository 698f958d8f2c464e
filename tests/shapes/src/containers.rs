//! The attribute on an `impl`, a `trait` and a `mod`.

use tracer::traced_node;

pub struct Shop<const N: usize>;

#[traced_node]
impl<const N: usize> Shop<N> {
    const ONE: u32 = {
        let one = 1;
        one
    };

    pub const fn constant() -> u32 {
        Self::ONE
    }

    pub fn plain(&self, n: u32) -> Result<u32, String> {
        Ok(n)
    }

    pub async fn asynchronous(&self, n: u32) -> Result<u32, String> {
        Ok(n)
    }

    #[traced_node("other-name")]
    pub fn named(&self) {}

    #[traced_node(skip)]
    pub fn left_out(&self) {}

    #[cfg_attr(all(), traced_node("named-if"))]
    pub fn named_if(&self) {}

    #[cfg_attr(all(), traced_node(skip))]
    pub fn left_out_if(&self) {}

    /// With attributes.
    #[inline]
    pub fn where_clause<T>(&self, t: T) -> Option<T>
    where
        T: Clone,
    {
        Some(t)
    }
}

impl Shop<{ 1 + 1 }> {}

#[traced_node]
pub trait Trait {
    type Item;
    const N: usize = { 1 };

    fn declared(&self) -> Option<Self::Item>;

    fn with_default(&self) -> Option<Self::Item> {
        self.declared()
    }
}

#[traced_node(err = none)]
pub mod inside {
    //! Documented.
    use std::{collections::HashMap, fmt};

    pub struct Empty;
    pub struct Tuple(pub u32, pub HashMap<u32, u32>);
    pub struct Braces {
        pub n: u32,
    }

    pub const TABLE: [u32; 2] = {
        let n = 1;
        [n, n]
    };
    pub static NAME: u32 = {
        let n = 1;
        n
    };
    pub type Alias = Vec<u32>;

    macro_rules! local {
        () => {
            1
        };
    }

    pub fn free() -> Result<u32, String> {
        Ok(local!())
    }

    pub const fn constant() -> u32 {
        1
    }

    impl super::Trait for Tuple {
        type Item = u32;

        fn declared(&self) -> Option<u32> {
            Some(self.0)
        }
    }

    impl fmt::Display for Braces {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{}", self.n)
        }
    }

    impl super::Generic<{ 1 + 1 }> for Empty {
        fn generic(&self) -> Option<usize> {
            Some(2)
        }
    }

    pub mod deeper {
        pub async fn free(n: &u32) -> Result<u32, String> {
            Ok(*n)
        }
    }
}

pub trait Generic<const N: usize> {
    fn generic(&self) -> Option<usize>;
}
