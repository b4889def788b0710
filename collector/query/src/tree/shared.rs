//! Calls of which both sides have one id, as Zipkin's tracers send them.

use std::collections::HashMap;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use super::{Link, Places, Tree};

/// A server's span with the id of its client's.
struct Server<'a> {
    node: usize,
    service: Option<&'a str>,
    /// What its place and its children's are found by, in place of the id that it shares.
    id: Vec<u8>,
}

impl Tree {
    /// Hangs servers below the clients whose id they have, and below them what has that id as its parent and is of their
    /// service. Jaeger does the same. Only the first client and the first server with an id are two sides of a call.
    #[must_use]
    pub fn with_calls_joined(mut self) -> Self {
        if let Some(places) = self.joined() {
            self.set_places(places);
            self.order();
        }
        self
    }

    /// None when no call has one id for both sides.
    fn joined(&self) -> Option<Places> {
        let servers = self.servers();
        let links = || (0..self.nodes.len()).map(|node| self.link(node, &servers)).collect::<Vec<_>>();
        (!servers.is_empty()).then(|| Places::of(&links()))
    }

    fn link<'a>(&'a self, node: usize, servers: &'a HashMap<&[u8], Server<'_>>) -> Link<'a> {
        let (service, link) = (self.service(&self.nodes[node]), self.nodes[node].link());
        match (servers.get(link.id), servers.get(link.parent)) {
            (Some(server), _) if server.node == node => Link { id: &server.id, parent: link.id, ..link },
            (_, Some(above)) if above.service == service => Link { parent: &above.id, ..link },
            _ => link,
        }
    }

    /// Those with the id of a client, by that.
    fn servers(&self) -> HashMap<&[u8], Server<'_>> {
        let first_of = |kind: SpanKind| {
            let nodes = self.nodes.iter().enumerate().rev().filter(move |(_, node)| node.span.kind == kind as i32);
            nodes.map(|(at, node)| (&*node.span.span_id, at)).collect::<HashMap<_, _>>()
        };
        let clients = first_of(SpanKind::Client);
        let is_shared = |id: &[u8]| clients.contains_key(id) && id.iter().any(|byte| *byte != 0);
        let servers = first_of(SpanKind::Server).into_iter().filter(|(id, _)| is_shared(id));
        // Ids have one length, so that a longer one is no other's.
        let server = |id: &[u8], node: usize| {
            let service = self.service(&self.nodes[node]);
            Server { node, service, id: [id, b"'s server"].concat() }
        };
        servers.map(|(id, node)| (id, server(id, node))).collect()
    }
}
