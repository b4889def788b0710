//! An agent and a collector in this process: started and stopped in the order in which spans flow.

use anyhow::Context;
use clew_agent::Agent;
use clew_collector::Collector;
use clew_common::{
    shutdown::{self, Drain, Stopper},
    world::World,
};
use tokio::{runtime::Handle, sync::oneshot, task::JoinHandle};

use super::Options;

/// Both, serving.
#[derive(Debug)]
pub(crate) struct Pair {
    agent: Part,
    collector: Part,
}

impl Pair {
    /// Opens both; returns once both serve.
    ///
    /// # Errors
    /// When one does not start. Nothing runs then.
    pub(crate) async fn start(options: &Options, world: &World, drain: &Drain) -> anyhow::Result<Self> {
        let (stopper, stop) = shutdown::channel();
        let (config, surroundings) = (options.collector.clone(), world.clone());
        let mut collector = Part::start("the collector", stopper, move |served| {
            let collector = Collector::open(config, surroundings, stop.clone())?;
            Ok(Handle::current().block_on(collector.run(stop, move || _ = served.send(())))?)
        })
        .await?;

        let (stopper, stop) = shutdown::channel();
        let (config, surroundings) = (options.agent.clone(), world.clone());
        let agent = Part::start("the agent", stopper, move |served| {
            let agent = Agent::open(config, surroundings, clew_agent::connect_over_tcp())?;
            Ok(Handle::current().block_on(agent.run(stop, move || _ = served.send(())))?)
        });
        match agent.await {
            Ok(agent) => Ok(Self { agent, collector }),
            Err(error) => {
                collector.stop(drain).await?;
                Err(error)
            }
        }
    }

    /// Returns when one of them has ended by itself: its disk failed. `stop` tells why.
    pub(crate) async fn ended(&mut self) {
        tokio::select! {
            () = self.agent.ended() => {}
            () = self.collector.ended() => {}
        }
    }

    /// Stops the agent, then the collector, which takes the agent's last spans. Both hurry when `drain` does.
    ///
    /// # Errors
    /// When one of them failed.
    pub(crate) async fn stop(mut self, drain: &Drain) -> anyhow::Result<()> {
        if self.collector.result.is_some() {
            // Nobody takes the agent's spans: they stay in its queue.
            self.agent.stopper.hurry();
        }
        let agent = self.agent.stop(drain).await;
        let collector = self.collector.stop(drain).await;
        collector.and(agent)
    }
}

/// One of the two.
#[derive(Debug)]
struct Part {
    name: &'static str,
    stopper: Stopper,
    task: JoinHandle<anyhow::Result<()>>,
    /// How it ended.
    result: Option<anyhow::Result<()>>,
}

impl Part {
    /// Starts `run` on a thread of its own, for opening blocks; returns once it has told that it serves.
    async fn start(
        name: &'static str,
        stopper: Stopper,
        run: impl FnOnce(oneshot::Sender<()>) -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (served, serves) = oneshot::channel();
        let mut part = Self { name, stopper, task: tokio::task::spawn_blocking(|| run(served)), result: None };
        if serves.await.is_ok() {
            return Ok(part);
        }
        part.ended().await;
        part.result.unwrap_or(Ok(())).and_then(|()| Err(anyhow::anyhow!("{name} ended before it served")))
    }

    async fn ended(&mut self) {
        if self.result.is_none() {
            let result = (&mut self.task).await.context("it panicked").flatten();
            self.result = Some(result.context(self.name));
        }
    }

    async fn stop(&mut self, drain: &Drain) -> anyhow::Result<()> {
        self.stopper.drain();
        tokio::select! {
            biased;
            () = self.ended() => {}
            () = drain.hurried() => {
                self.stopper.hurry();
                self.ended().await;
            }
        }
        self.result.take().unwrap_or(Ok(()))
    }
}
