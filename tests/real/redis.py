"""Redis servers of the tests' own, on free loopback ports: one, one behind Sentinel, a cluster."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import redis

from tests.real.components import program
from tests.real.processes import Server, Startable, accepts_connections, free_port, wait_until

# A cache that does not answer costs a request this long.
QUICK = {"socket_connect_timeout": 0.5, "socket_timeout": 0.5}
DOWN_AFTER_MILLISECONDS = 500
FAILOVER_SECONDS = 30
SLOTS = 16384


class Redis(Server):
    """A Redis server that keeps nothing on disk; it may be stopped and started again."""

    def __init__(self, folder: Path, *options: str) -> None:
        """Take the log's folder and further options; raises ``ComponentMissing``."""
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        always = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
        super().__init__(
            "redis",
            [program("redis-server"), "--port", str(self.port), *always, *options],
            folder=folder,
            ready=lambda: accepts_connections(self.port),
            cwd=folder,
        )

    def settings(self) -> dict[str, Any]:
        """Return Django's ``CACHES`` with this server."""
        return {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": self.url}}

    def ask(self, *command: str | int) -> Any:
        """Return the server's answer to a command."""
        with client(self.port) as connection:
            return connection.execute_command(*command)


class RedisBehindSentinel(Startable):
    """A master, its replica, and a sentinel that makes one of the other when it is gone."""

    def __init__(self, folder: Path) -> None:
        """Take the folder of logs and of the sentinel's file; raises ``ComponentMissing``."""
        # django-redis keeps its connections by this name for as long as the process lives.
        self.name = f"tests-{free_port()}"
        self.master = Redis(folder, "--repl-diskless-sync-delay", "0")
        self.replica = Redis(folder, "--replicaof", "127.0.0.1", str(self.master.port))
        self._sentinel_port = free_port()
        self._file = folder / f"{self.name}.conf"
        self._sentinel = Server(
            "sentinel",
            [program("redis-server"), self._file, "--sentinel"],
            folder=folder,
            ready=lambda: accepts_connections(self._sentinel_port),
            cwd=folder,
        )

    def start(self) -> None:
        """Start all three; return when the sentinel could make the replica the master."""
        try:
            self.master.start()
            self.replica.start()
            wait_until(self._is_replicated, FAILOVER_SECONDS, "the replica is in step")
            # The sentinel learns of replicas as it starts, and then once in ten seconds.
            self._file.write_text("\n".join(self._configuration()))
            self._sentinel.start()
            wait_until(self._knows_replica, FAILOVER_SECONDS, "the sentinel knows the replica")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all three."""
        for server in (self._sentinel, self.replica, self.master):
            server.kill()

    def fail_over(self) -> None:
        """Kill the master and return when the replica has taken its place."""
        self.master.kill()
        self.wait_for_failover()

    def wait_for_failover(self) -> None:
        """Return when the replica has taken the place of a master that is gone."""
        wait_until(self._has_failed_over, FAILOVER_SECONDS, "the replica is the master")
        self.master, self.replica = self.replica, self.master

    def cut_replication(self) -> None:
        """Let the replica learn of nothing any more; it may still become the master."""
        self.master.ask("ACL SETUSER", "default", "-psync", "-sync")
        self.master.ask("CLIENT KILL", "TYPE", "replica")

    def is_in_step(self) -> bool:
        """Return whether the replica has all that the master has."""
        of_master, of_replica = (
            server.ask("INFO", "replication") for server in (self.master, self.replica)
        )
        return bool(of_master["master_repl_offset"] == of_replica.get("slave_repl_offset"))

    def restore(self) -> None:
        """Start the one that was killed as the replica; then all is as after ``start``."""
        self.replica.start()
        self.replica.ask("REPLICAOF", "127.0.0.1", self.master.port)
        wait_until(self._is_replicated, FAILOVER_SECONDS, "the replica is in step")
        wait_until(self._knows_replica, FAILOVER_SECONDS, "the sentinel knows the replica")

    def settings(self) -> dict[str, Any]:
        """Return Django's ``CACHES`` with the master, whoever it is."""
        options = {
            "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
            "SENTINELS": [["127.0.0.1", self._sentinel_port]],
            "CONNECTION_POOL_KWARGS": QUICK,
            "SENTINEL_KWARGS": {**QUICK, "retry": None},
        }
        return {
            "default": {
                "BACKEND": "django_redis.cache.RedisCache",
                "LOCATION": f"redis://{self.name}/0",
                "OPTIONS": options,
            }
        }

    def _configuration(self) -> list[str]:
        return [
            "bind 127.0.0.1",
            f"port {self._sentinel_port}",
            f"sentinel monitor {self.name} 127.0.0.1 {self.master.port} 1",
            f"sentinel down-after-milliseconds {self.name} {DOWN_AFTER_MILLISECONDS}",
            f"sentinel failover-timeout {self.name} 5000",
            "",
        ]

    def _is_replicated(self) -> bool:
        replicas = self.master.ask("INFO", "replication")
        return any(
            one.get("state") == "online" for one in replicas.values() if isinstance(one, dict)
        )

    def _knows_replica(self) -> bool:
        with client(self._sentinel_port) as sentinel:
            [state] = sentinel.sentinel_slaves(self.name) or [{}]
        return _is(self.replica, "slave", state) and state["master-link-status"] == "ok"

    def _has_failed_over(self) -> bool:
        with client(self._sentinel_port) as sentinel:
            return _is(self.replica, "master", sentinel.sentinel_master(self.name))


class RedisCluster(Startable):
    """Three masters that share the keys among them."""

    def __init__(self, folder: Path) -> None:
        """Take the folder of logs and of what the nodes write; raises ``ComponentMissing``."""
        self._buses = [free_port() for _ in range(3)]
        self.nodes = [Redis(folder, *_as_node(bus)) for bus in self._buses]
        self._running = ExitStack()

    def start(self) -> None:
        """Start the nodes, let them know each other, return when they serve all keys."""
        with ExitStack() as running:
            for node in self.nodes:
                running.enter_context(node)
            for number, node in enumerate(self.nodes):
                first, end = (SLOTS * n // len(self.nodes) for n in (number, number + 1))
                node.ask("CLUSTER ADDSLOTSRANGE", first, end - 1)
                node.ask("CLUSTER SET-CONFIG-EPOCH", number + 1)
                self.nodes[0].ask("CLUSTER MEET", "127.0.0.1", node.port, self._buses[number])
            wait_until(self._is_whole, FAILOVER_SECONDS, "all nodes know who has which key")
            self._running = running.pop_all()

    def stop(self) -> None:
        """End the nodes."""
        self._running.close()

    def settings(self) -> dict[str, Any]:
        """Return Django's ``CACHES`` with this cluster."""
        options = {
            "CONNECTION_FACTORY": "tests.real.redis_cluster.ConnectionFactory",
            "REDIS_CLIENT_KWARGS": QUICK,
        }
        return {
            "default": {
                "BACKEND": "django_redis.cache.RedisCache",
                "LOCATION": self.nodes[0].url,
                "OPTIONS": options,
            }
        }

    def _is_whole(self) -> bool:
        states = [node.ask("CLUSTER INFO") for node in self.nodes]
        slots = [node.ask("CLUSTER SLOTS") for node in self.nodes]
        return all(state["cluster_state"] == "ok" for state in states) and all(
            len(known) == len(self.nodes) for known in slots
        )


def _as_node(bus: int) -> tuple[str, ...]:
    file = f"nodes-{bus}.conf"
    return ("--cluster-enabled", "yes", "--cluster-config-file", file, "--cluster-port", str(bus))


def _is(server: Redis, role: str, state: dict[str, Any]) -> bool:
    """Return whether that is what a sentinel says of the server, and nothing worse."""
    return (state.get("port"), state.get("flags")) == (server.port, role)


def client(port: int) -> redis.Redis:
    """Return a connection to the Redis, or the sentinel, on that port."""
    return redis.Redis(port=port, socket_timeout=5)
