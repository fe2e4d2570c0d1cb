//! Taking connections until told to stop.
//!
//! What always holds: there are so many at once, and from one address, or [`site`] of IPv6, no more than a quarter of
//! them. What strangers may cost is known, and one of them keeps nobody else out. Every connection ends with the tasks.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use xenith_common_tasks::TaskSet;

/// Out of file descriptors, mostly: some are closed meanwhile.
const PAUSE: Duration = Duration::from_millis(200);

/// Who takes connections, and how many.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// Of the task of each connection.
    pub name: &'static str,
    pub at_once: usize,
}

/// Open connections, by who has them.
#[derive(Debug)]
struct Callers {
    each: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// One of them.
#[derive(Debug)]
struct Counted {
    callers: Arc<Callers>,
    from: IpAddr,
}

impl Callers {
    fn of(at_once: usize) -> Arc<Self> {
        Arc::new(Self { each: (at_once / 4).max(1), open: Mutex::default() })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None`: this one has enough.
    fn count(self: &Arc<Self>, from: IpAddr) -> Option<Counted> {
        let from = site(from);
        let mut open = self.open();
        let its = open.entry(from).or_default();
        if *its >= self.each {
            return None;
        }
        *its += 1;
        Some(Counted { callers: Arc::clone(self), from })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.callers.open();
        if let Some(its) = open.get_mut(&self.from) {
            *its -= 1;
            if *its == 0 {
                open.remove(&self.from);
            }
        }
    }
}

/// Of what strangers may have only so many at once, connections apart: of one [`site`] no more than a quarter of them.
#[derive(Debug, Clone)]
pub struct Places {
    free: Arc<Semaphore>,
    callers: Arc<Callers>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Place {
    _free: OwnedSemaphorePermit,
    _counted: Counted,
}

impl Places {
    #[must_use]
    pub fn new(at_once: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(at_once)), callers: Callers::of(at_once) }
    }

    /// `None`: all are taken, or this one has enough.
    #[must_use]
    pub fn take(&self, from: IpAddr) -> Option<Place> {
        let free = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(Place { _free: free, _counted: self.callers.count(from)? })
    }
}

/// What of an address counts. Of IPv6 the 64 bits that a site is given: the rest anybody chooses at will.
#[must_use]
pub fn site(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))),
        IpAddr::V4(ip) => IpAddr::V4(ip),
    }
}

/// Serves each connection in a task of its own, until `tasks` end. A connection has its place until its task is over.
pub fn accept<Served>(
    listener: TcpListener,
    limit: Limit,
    tasks: &TaskSet,
    serve: impl Fn(TcpStream, SocketAddr) -> Served + Send + 'static,
) where
    Served: Future<Output = ()> + Send + 'static,
{
    let (places, callers) = (Arc::new(Semaphore::new(limit.at_once)), Callers::of(limit.at_once));
    let (owned, token) = (tasks.clone(), tasks.token());
    tasks.spawn("accept", async move {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let accepted = tokio::select! {
                () = token.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (tcp, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, to = limit.name, "cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let Some(counted) = callers.count(from.ip()) else {
                tracing::debug!(%from, to = limit.name, "a connection too many from there");
                continue;
            };
            let (served, closing) = (serve(tcp, from), owned.token());
            owned.spawn(limit.name, async move {
                let _until_it_ends = (place, counted);
                tokio::select! {
                    () = closing.cancelled() => {}
                    () = served => {}
                }
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn one_stranger_keeps_nobody_else_out() {
        let callers = Callers::of(32);
        let from = |address: &str| address.parse::<IpAddr>().unwrap();
        let mut theirs: Vec<_> = (0..8).map(|_| callers.count(from("2001:db8:1:2::1")).unwrap()).collect();
        assert!(callers.count(from("2001:db8:1:2:ffff::9")).is_none(), "the same site");
        assert!(callers.count(from("2001:db8:1:3::1")).is_some(), "another");
        assert!(callers.count(from("192.0.2.1")).is_some());
        theirs.pop();
        assert!(callers.count(from("2001:db8:1:2::1")).is_some(), "one has ended");
        drop(theirs);
        assert!(callers.open().is_empty(), "who has none is not remembered");
    }

    #[test]
    fn places_are_so_many_and_come_back() {
        let places = Places::new(8);
        let from = |number: u8| IpAddr::from([192, 0, 2, number]);
        let mut taken: Vec<_> = (0..8).map(|number| places.take(from(number / 2)).unwrap()).collect();
        assert!(places.take(from(9)).is_none(), "all are taken");
        taken.pop();
        assert!(places.take(from(0)).is_none(), "it has two of eight");
        assert!(places.take(from(9)).is_some());
    }

    #[tokio::test]
    async fn one_too_many_is_closed_and_the_next_is_served_when_one_ends() {
        let tasks = TaskSet::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        accept(listener, Limit { name: "echo", at_once: 4 }, &tasks, |mut tcp, _| async move {
            let mut word = [0; 1];
            while tcp.read_exact(&mut word).await.is_ok() && tcp.write_all(&word).await.is_ok() {}
        });
        let echoed = async |tcp: &mut TcpStream| {
            let mut word = [0; 1];
            tcp.write_all(b"x").await.is_ok() && tcp.read_exact(&mut word).await.is_ok()
        };
        let mut first = TcpStream::connect(address).await.unwrap();
        assert!(echoed(&mut first).await);
        let mut second = TcpStream::connect(address).await.unwrap();
        assert!(!echoed(&mut second).await, "a quarter of four is one");
        drop(first);
        let served = async {
            loop {
                let mut next = TcpStream::connect(address).await.unwrap();
                if echoed(&mut next).await {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), served).await.unwrap();
        tasks.shut_down(Duration::from_secs(10)).await.unwrap();
    }
}
