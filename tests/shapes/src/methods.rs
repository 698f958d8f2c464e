//! Methods, with every `self`.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use tracer::traced_node;

#[derive(Default)]
pub struct Store {
    names: Vec<String>,
    count: u32,
}

impl Store {
    #[traced_node]
    pub fn new() -> Self {
        Self::default()
    }

    #[traced_node]
    pub fn by_ref(&self, n: usize) -> Option<&String> {
        self.names.get(n)
    }

    #[traced_node]
    pub fn by_mut(&mut self, name: String) -> Result<&mut String, String> {
        self.names.push(name);
        self.count += 1;
        self.names.last_mut().ok_or_else(String::new)
    }

    #[traced_node]
    pub fn unit_mut(&mut self) {
        self.count += 1;
    }

    #[traced_node]
    pub fn by_value(self) -> Result<Vec<String>, ()> {
        Ok(self.names)
    }

    #[traced_node]
    pub fn by_mut_value(mut self, name: String) -> Option<Self> {
        self.names.push(name);
        Some(self)
    }

    #[traced_node]
    pub fn boxed(self: Box<Self>) -> Option<u32> {
        Some(self.count)
    }

    #[traced_node]
    pub fn rc(self: Rc<Self>) -> Result<u32, ()> {
        Ok(self.count)
    }

    #[traced_node]
    pub fn arc_ref(self: &Arc<Self>) -> Result<Arc<Self>, ()> {
        Ok(Arc::clone(self))
    }

    #[traced_node]
    pub fn pinned(mut self: Pin<&mut Self>) -> Option<u32> {
        self.count += 1;
        Some(self.count)
    }

    #[traced_node]
    pub fn typed(self: &Self) -> Option<u32> {
        Some(self.count)
    }

    #[traced_node]
    pub async fn async_ref(&self) -> Option<&String> {
        self.names.first()
    }

    #[traced_node]
    pub async fn async_mut(&mut self, name: &str) -> Result<&mut String, std::num::ParseIntError> {
        let _: u32 = name.parse()?;
        self.names.push(name.to_owned());
        Ok(self.names.last_mut().unwrap())
    }

    #[traced_node]
    pub async fn async_value(mut self) -> Vec<String> {
        self.names.push(String::new());
        self.names
    }

    #[traced_node]
    pub async fn async_unused_self(self) {}

    #[traced_node]
    pub async fn async_boxed(self: Box<Self>) -> u32 {
        self.count
    }

    #[traced_node]
    pub async fn async_arc(self: Arc<Self>, other: &Store) -> u32 {
        self.count + other.count
    }

    #[traced_node]
    pub async fn async_pinned(mut self: Pin<&mut Self>) -> u32 {
        self.count += 1;
        self.count
    }
}

pub struct Wrapper<'a, T: ?Sized, const N: usize>(&'a T, [u8; N]);

impl<'a, T: ?Sized + Sync, const N: usize> Wrapper<'a, T, N> {
    #[traced_node]
    pub fn get(&self) -> Option<&'a T> {
        Some(self.0)
    }

    #[traced_node]
    pub async fn async_get<U: Clone>(&self, u: &U) -> (&'a T, U) {
        (self.0, u.clone())
    }

    const M: usize = N;

    #[traced_node]
    pub fn associated(n: usize) -> Result<[u8; N], usize> {
        if n == Self::M { Ok([0; N]) } else { Err(n) }
    }
}
