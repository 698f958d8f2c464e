//! Functions in traits and their implementations.

use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;
use tracer::traced_node;

pub trait Shop {
    type Order;
    fn declared(&self) -> Result<Self::Order, String>;

    #[traced_node]
    fn with_default(&self, n: u32) -> Result<u32, String>
    where
        Self: Sized,
    {
        self.declared().map(|_| n)
    }

    #[traced_node]
    fn unit_default(&self) {}
}

impl Shop for u32 {
    type Order = u32;

    #[traced_node]
    fn declared(&self) -> Result<Self::Order, String> {
        Ok(*self)
    }
}

#[allow(async_fn_in_trait)]
pub trait AsyncShop {
    async fn declared(&self, n: &u32) -> Result<u32, String>;

    #[traced_node]
    async fn with_default(&self, n: u32) -> Result<u32, String> {
        self.declared(&n).await
    }

    fn send(&self, n: u32) -> impl Future<Output = u32> + Send;
}

impl AsyncShop for u32 {
    #[traced_node]
    async fn declared(&self, n: &u32) -> Result<u32, String> {
        Ok(*self + *n)
    }

    #[traced_node]
    async fn send(&self, n: u32) -> u32 {
        n
    }
}

impl AsyncShop for String {
    #[traced_node]
    async fn declared(&self, _n: &u32) -> Result<u32, String> {
        Err(self.clone())
    }

    #[traced_node]
    fn send(&self, n: u32) -> impl Future<Output = u32> + Send {
        async move { n }
    }
}

pub trait ByHand {
    fn boxed<'a>(&'a self, n: u32) -> Pin<Box<dyn Future<Output = Result<u32, String>> + Send + 'a>>;
}

impl ByHand for u32 {
    #[traced_node]
    fn boxed<'a>(&'a self, n: u32) -> Pin<Box<dyn Future<Output = Result<u32, String>> + Send + 'a>> {
        Box::pin(async move { Ok(n + *self) })
    }
}

impl ByHand for String {
    #[traced_node]
    fn boxed<'a>(&'a self, n: u32) -> Pin<Box<dyn Future<Output = Result<u32, String>> + Send + 'a>> {
        if n == 0 {
            return Box::pin(std::future::ready(Ok(1)));
        }
        let own = self.clone();
        Box::pin(async move { Err(own) })
    }
}

#[async_trait]
pub trait Remote {
    async fn declared(&mut self, mut n: u32, text: &str) -> Result<u32, String>;

    #[traced_node]
    async fn with_default(&self, text: String) -> Result<String, String> {
        Ok(text)
    }
}

pub struct Inside;

#[async_trait]
impl Remote for Inside {
    #[traced_node]
    async fn declared(&mut self, mut n: u32, text: &str) -> Result<u32, String> {
        n += text.len() as u32;
        Ok(n)
    }
}

pub struct Above;

#[traced_node]
#[async_trait]
impl Remote for Above {
    async fn declared(&mut self, mut n: u32, text: &str) -> Result<u32, String> {
        let parsed: u32 = text.parse().map_err(|_| String::from("x"))?;
        n += parsed;
        Ok(n)
    }
}

pub struct Below;

#[async_trait]
#[traced_node]
impl Remote for Below {
    async fn declared(&mut self, mut n: u32, text: &str) -> Result<u32, String> {
        n += text.len() as u32;
        Ok(n)
    }

    async fn with_default(&self, text: String) -> Result<String, String> {
        Err(text)
    }
}

#[async_trait(?Send)]
#[traced_node]
pub trait LocalRemote {
    async fn declared(&self);

    async fn with_default(&self, _n: u32, (a, b): (u32, u32)) -> u32 {
        a + b
    }
}

impl std::str::FromStr for Inside {
    type Err = std::num::ParseIntError;

    #[traced_node]
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<u32>()?;
        Ok(Self)
    }
}

impl Iterator for Inside {
    type Item = u32;

    #[traced_node]
    fn next(&mut self) -> Option<Self::Item> {
        None
    }
}

impl Drop for Above {
    #[traced_node]
    fn drop(&mut self) {}
}

impl Future for Below {
    type Output = Result<u32, String>;

    #[traced_node]
    fn poll(self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        cx.waker().wake_by_ref();
        std::task::Poll::Ready(Ok(1))
    }
}
