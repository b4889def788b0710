//! The shop whose traces are made up: services, their instances, their operations, and who calls whom.

use super::{
    encode::{self, Attributes, RESOURCE_ATTRIBUTE, SPAN_ATTRIBUTE, Text},
    names::{ENTRIES, Listed, Protocol, REGIONS, SERVICES, STEPS},
    random::Random,
};

/// What an operation is about; decides its attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    HttpServer,
    HttpClient,
    RpcServer,
    RpcClient,
    Sql,
    Cache,
    Produce,
    Consume,
    Step,
}

/// The library that reports an operation: an index into the scopes of its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scope(pub(crate) u8);

/// How many scopes a service has.
pub(crate) const SCOPES: usize = 7;

impl Sort {
    /// Which library reports it.
    pub(crate) fn scope(self) -> Scope {
        Scope(match self {
            Self::HttpServer => 0,
            Self::HttpClient => 1,
            Self::RpcServer | Self::RpcClient => 2,
            Self::Sql => 3,
            Self::Cache => 4,
            Self::Produce | Self::Consume => 5,
            Self::Step => 6,
        })
    }

    /// The number of its span kind in OTLP.
    pub(crate) fn kind(self) -> u8 {
        match self {
            Self::Step => 1,
            Self::HttpServer | Self::RpcServer => 2,
            Self::HttpClient | Self::RpcClient | Self::Sql | Self::Cache => 3,
            Self::Produce => 4,
            Self::Consume => 5,
        }
    }
}

/// Something that a service does again and again.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) sort: Sort,
    /// Which service does it.
    pub(crate) service: usize,
    pub(crate) name: String,
    /// Attributes that are the same each time, encoded as they stand in a span.
    pub(crate) fixed: Vec<u8>,
    /// What comes before the id in the path, the URL or the key.
    pub(crate) subject: String,
    /// What comes after it.
    pub(crate) suffix: &'static str,
    /// Whether the operation changes something (POST, INSERT).
    pub(crate) writes: bool,
}

/// A call from one service to another: two operations, by index.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) from: usize,
    pub(crate) to: usize,
}

/// A service of the shop.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) listed: Listed,
    pub(crate) name: String,
    /// Its encoded `InstrumentationScope`s.
    pub(crate) scopes: [Vec<u8>; SCOPES],
    /// What it serves.
    pub(crate) serves: Vec<usize>,
    pub(crate) calls: Vec<Call>,
    pub(crate) sends: Vec<Call>,
    pub(crate) queries: Vec<usize>,
    pub(crate) lookups: Vec<usize>,
    pub(crate) steps: Vec<usize>,
    /// Its instances are these of [`Model::resources`].
    pub(crate) instances: std::ops::Range<usize>,
}

/// The whole shop.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) services: Vec<Service>,
    pub(crate) operations: Vec<Operation>,
    /// Encoded `Resource`s, one for each instance of each service.
    pub(crate) resources: Vec<Vec<u8>>,
    /// How many services take requests from outside.
    pub(crate) entries: usize,
}

impl Model {
    /// Makes up a shop of `services` services (at least one). Each has one instance until `populate` gives it more.
    pub(crate) fn new(services: usize, random: &mut Random) -> Self {
        let mut model = Self { services: Vec::new(), operations: Vec::new(), resources: Vec::new(), entries: 0 };
        model.entries = ENTRIES.min(services.div_ceil(2));
        for index in 0..services {
            let service = model.make_service(index);
            model.services.push(service);
        }
        for index in 0..services {
            model.connect(index, random);
        }
        model.populate(&vec![1; services], random);
        model
    }

    /// Gives each service this many instances.
    pub(crate) fn populate(&mut self, instances: &[usize], random: &mut Random) {
        self.resources.clear();
        for (service, count) in self.services.iter_mut().zip(instances) {
            let first = self.resources.len();
            self.resources.extend((0..*count).map(|_| resource(service, random)));
            service.instances = first..self.resources.len();
        }
    }

    fn make_service(&mut self, index: usize) -> Service {
        let listed = SERVICES[index % SERVICES.len()];
        let round = index / SERVICES.len();
        let name = if round == 0 { listed.name.to_owned() } else { format!("{}-{}", listed.name, round + 1) };
        let (scopes, version) = listed.language.scopes();
        let mut service = Service {
            listed,
            scopes: scopes.map(|scope| {
                let mut out = Vec::new();
                encode::bytes(&mut out, 0x0a, scope.as_bytes());
                encode::bytes(&mut out, 0x12, version.as_bytes());
                out
            }),
            serves: Vec::new(),
            calls: Vec::new(),
            sends: Vec::new(),
            queries: Vec::new(),
            lookups: Vec::new(),
            steps: Vec::new(),
            instances: 0..0,
            name,
        };
        service.serves = self.endpoints(index, &service);
        service.queries = self.statements(index, &service);
        service.lookups = ["GET", "GET", "MGET", "SET"].map(|verb| self.lookup(index, &service, verb)).into();
        service.steps = (0..3).map(|i| self.step(index, &service, STEPS[(index * 3 + i) % STEPS.len()])).collect();
        service
    }

    fn add(&mut self, operation: Operation) -> usize {
        self.operations.push(operation);
        self.operations.len() - 1
    }

    fn endpoints(&mut self, service: usize, of: &Service) -> Vec<usize> {
        let entity = of.listed.entity;
        let routes = match of.listed.protocol {
            Protocol::Http => [("GET", ""), ("GET", "/summary"), ("POST", "/items"), ("PUT", ""), ("GET", "/related")],
            Protocol::Grpc => [("Get", ""), ("List", "s"), ("Create", ""), ("Update", ""), ("Check", "")],
        };
        let endpoint = |(verb, suffix): (&'static str, &'static str)| {
            let mut fixed = Vec::new();
            let mut attributes = Attributes { out: &mut fixed, tag: SPAN_ATTRIBUTE };
            let (sort, name, subject) = match of.listed.protocol {
                Protocol::Http => {
                    let subject = format!("/v1/{entity}s/");
                    let route = format!("{subject}{{id}}{suffix}");
                    attributes.string("http.request.method", verb);
                    attributes.string("http.route", &route);
                    attributes.string("server.address", &of.name);
                    attributes.int("server.port", 8080);
                    (Sort::HttpServer, format!("{verb} {route}"), subject)
                }
                Protocol::Grpc => {
                    let (full, method) = rpc_names(of, verb, suffix);
                    attributes.string("rpc.system", "grpc");
                    attributes.string("rpc.service", &full);
                    attributes.string("rpc.method", &method);
                    attributes.string("server.address", &of.name);
                    attributes.int("server.port", 9090);
                    (Sort::RpcServer, format!("{full}/{method}"), String::new())
                }
            };
            let writes = matches!(verb, "POST" | "PUT" | "Create" | "Update");
            Operation { sort, service, name, fixed, subject, suffix, writes }
        };
        routes.map(|route| self.add(endpoint(route))).into()
    }

    fn statements(&mut self, service: usize, of: &Service) -> Vec<usize> {
        let entity = of.listed.entity;
        let statements = [
            ("SELECT", format!("SELECT id, state, version FROM {entity}s WHERE id = $1")),
            ("SELECT", format!("SELECT * FROM {entity}s WHERE owner_id = $1 LIMIT 50")),
            ("INSERT", format!("INSERT INTO {entity}s (id, owner_id, body) VALUES ($1, $2, $3)")),
            ("UPDATE", format!("UPDATE {entity}s SET state = $2 WHERE id = $1")),
            ("SELECT", format!("SELECT count(*) FROM {entity}_log WHERE id = $1")),
        ];
        let statement = |(verb, text): (&str, String)| {
            let mut fixed = Vec::new();
            let mut attributes = Attributes { out: &mut fixed, tag: SPAN_ATTRIBUTE };
            attributes.string("db.system.name", of.listed.database);
            attributes.string("db.namespace", of.listed.namespace);
            attributes.string("db.operation.name", verb);
            attributes.string("db.collection.name", format!("{entity}s"));
            attributes.string("db.query.text", &text);
            attributes.string("server.address", format!("{}-db", of.listed.namespace));
            attributes.int("server.port", 5432);
            Operation {
                sort: Sort::Sql,
                service,
                name: format!("{verb} {entity}s"),
                fixed,
                subject: String::new(),
                suffix: "",
                writes: verb != "SELECT",
            }
        };
        statements.map(|named| self.add(statement(named))).into()
    }

    fn lookup(&mut self, service: usize, of: &Service, verb: &str) -> usize {
        let mut fixed = Vec::new();
        let mut attributes = Attributes { out: &mut fixed, tag: SPAN_ATTRIBUTE };
        attributes.string("db.system.name", "redis");
        attributes.string("db.namespace", "0");
        attributes.string("db.operation.name", verb);
        attributes.string("server.address", format!("redis-{}", of.listed.namespace));
        attributes.int("server.port", 6379);
        self.add(Operation {
            sort: Sort::Cache,
            service,
            name: verb.to_owned(),
            fixed,
            subject: format!("{verb} {}:{}:", of.name, of.listed.entity),
            suffix: "",
            writes: verb == "SET",
        })
    }

    fn step(&mut self, service: usize, of: &Service, name: &str) -> usize {
        let function = name.replace(' ', "_");
        let file = format!("src/{}/{function}{}", of.listed.entity, of.listed.language.source_suffix());
        let mut fixed = Vec::new();
        let mut attributes = Attributes { out: &mut fixed, tag: SPAN_ATTRIBUTE };
        attributes.string("code.function.name", format!("{}.{function}", of.listed.namespace));
        attributes.string("code.file.path", file);
        attributes.int("code.line.number", 20 + (service * 37 + function.len() * 13) as i64 % 400);
        self.add(Operation {
            sort: Sort::Step,
            service,
            name: name.to_owned(),
            fixed,
            subject: String::new(),
            suffix: "",
            writes: false,
        })
    }

    /// Lets a service call and message some of those further down.
    fn connect(&mut self, index: usize, random: &mut Random) {
        let below = self.services.len() - index - 1;
        if below == 0 {
            return;
        }
        let mut callees: Vec<_> = (0..2 + random.below(3)).map(|_| index + 1 + random.below(below)).collect();
        // The last call goes to the next service, so that each has a caller; entries have theirs outside.
        callees.push((index + 1).max(self.entries.min(self.services.len() - 1)));
        for callee in callees {
            for _ in 0..2 {
                let to = *random.pick(&self.services[callee].serves);
                let client = self.client(index, to);
                let from = self.add(client);
                self.services[index].calls.push(Call { from, to });
            }
        }
        if index % 3 == 1 {
            let consumer = index + 1 + random.below(below);
            let topic = format!("{}.{}-changed", self.services[index].listed.namespace, self.services[index].name);
            let [produce, consume] = [(index, Sort::Produce, "send"), (consumer, Sort::Consume, "process")];
            let from = self.message(produce, &topic);
            let to = self.message(consume, &topic);
            self.services[index].sends.push(Call { from, to });
        }
    }

    fn client(&self, service: usize, to: usize) -> Operation {
        let server = &self.operations[to];
        let callee = &self.services[server.service];
        let mut fixed = Vec::new();
        let mut attributes = Attributes { out: &mut fixed, tag: SPAN_ATTRIBUTE };
        let (sort, name, subject) = match server.sort {
            Sort::RpcServer => {
                let (full, method) = server.name.split_once('/').unwrap_or((&server.name, ""));
                attributes.string("rpc.system", "grpc");
                attributes.string("rpc.service", full);
                attributes.string("rpc.method", method);
                attributes.string("server.address", &callee.name);
                attributes.int("server.port", 9090);
                (Sort::RpcClient, server.name.clone(), String::new())
            }
            _ => {
                let method = server.name.split(' ').next().unwrap_or("GET");
                attributes.string("http.request.method", method);
                attributes.string("server.address", &callee.name);
                attributes.int("server.port", 8080);
                attributes.string("peer.service", &callee.name);
                (Sort::HttpClient, method.to_owned(), format!("http://{}:8080{}", callee.name, server.subject))
            }
        };
        Operation { sort, service, name, fixed, subject, suffix: server.suffix, writes: server.writes }
    }

    fn message(&mut self, (service, sort, verb): (usize, Sort, &str), topic: &str) -> usize {
        let mut fixed = Vec::new();
        let mut attributes = Attributes { out: &mut fixed, tag: SPAN_ATTRIBUTE };
        attributes.string("messaging.system", "kafka");
        attributes.string("messaging.destination.name", topic);
        attributes.string("messaging.operation.name", verb);
        attributes.string("messaging.operation.type", verb);
        attributes.string("server.address", "kafka");
        if sort == Sort::Consume {
            attributes.string("messaging.consumer.group.name", &self.services[service].name);
        }
        let name = format!("{verb} {topic}");
        self.add(Operation { sort, service, name, fixed, subject: String::new(), suffix: "", writes: true })
    }
}

/// The full service name and the method.
fn rpc_names(of: &Service, verb: &str, suffix: &str) -> (String, String) {
    let mut entity = String::new();
    for word in of.listed.entity.split('_') {
        let (head, tail) = word.split_at(1);
        entity.push_str(&head.to_uppercase());
        entity.push_str(tail);
    }
    (format!("shop.{}.v1.{entity}Service", of.listed.namespace), format!("{verb}{entity}{suffix}"))
}

/// An encoded `Resource` with 13 attributes.
fn resource(of: &Service, random: &mut Random) -> Vec<u8> {
    let mut out = Vec::new();
    let mut attributes = Attributes { out: &mut out, tag: RESOURCE_ATTRIBUTE };
    let region = *random.pick(&REGIONS);
    let zone = ["a", "b", "c"][random.below(3)];
    let host = Text::new().text("ip-").address(random.bits() as u32).text(".").text(region);
    let replica_set = Text::new().text(&of.name).text("-").hex(random.bits(), 9).text("-");
    let arch = if random.chance(0.3) { "arm64" } else { "amd64" };
    attributes.string("service.name", &of.name);
    attributes.string("service.version", version(random));
    attributes.string("service.namespace", of.listed.namespace);
    attributes.string("service.instance.id", Text::new().uuid(random.bits(), random.bits()));
    attributes.string("deployment.environment.name", "production");
    attributes.string("host.name", host);
    attributes.string("host.arch", arch);
    attributes.string("cloud.region", region);
    attributes.string("cloud.availability_zone", format!("{region}{zone}"));
    attributes.string("k8s.namespace.name", of.listed.namespace);
    attributes.string("k8s.pod.name", replica_set.hex(random.bits(), 5));
    attributes.string("telemetry.sdk.name", "opentelemetry");
    attributes.string("telemetry.sdk.language", of.listed.language.id());
    out
}

/// Mostly one version, sometimes its successor: a roll-out under way.
fn version(random: &mut Random) -> &'static str {
    if random.chance(0.85) { "3.41.7" } else { "3.42.0" }
}
