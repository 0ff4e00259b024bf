#!/usr/bin/env python3
"""Tries nginx.conf and haproxy.cfg: two nodes on a Redis of their own, clients from many addresses, over WebSocket and polling; then a
node ends. Usage: balancers.py PATH-OF-notify-server. Exit status 3 where a program is missing."""

import base64, hashlib, hmac, http.client, json, os, re, shutil, signal, socket, struct, subprocess, sys, tempfile, time
from pathlib import Path

HERE = Path(__file__).parent
SECRET, CREDENTIAL = "a-secret-for-this-check-only-0123456789", "a-credential-for-this-check-only"
CLIENTS = 12
PATIENCE = 20


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(what, holds):
    deadline = time.time() + PATIENCE
    while True:
        try:
            found = holds()
            if found:
                return found
        except (OSError, http.client.HTTPException):
            pass
        if time.time() > deadline:
            sys.exit(f"balancers.py: {what}: it does not come")
        time.sleep(0.05)


def ask(port, method, path, body=None, headers=None, source=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE, source_address=source and (source, 0))
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def token(user):
    part = lambda it: base64.urlsafe_b64encode(it).rstrip(b"=").decode()
    claims = {"userId": user, "sessionId": f"session-{user}", "exp": int(time.time()) + 600}
    message = ".".join(part(json.dumps(it).encode()) for it in ({"alg": "HS256", "typ": "JWT"}, claims))
    return f"{message}.{part(hmac.new(SECRET.encode(), message.encode(), hashlib.sha256).digest())}"


class Polling:
    def __init__(self, port, source, user):
        self.port, self.source, self.packets = port, source, []
        status, text = ask(port, "GET", self.path(), source=source)
        assert status == 200 and text[0] == "0", f"polling does not open: {status} {text}"
        self.sid = json.loads(text[1:].split("\x1e")[0])["sid"]
        self.send("40/notifications," + json.dumps({"token": token(user)}))
        assert self.next().startswith('40/notifications,{"sid"')

    def path(self):
        sid = getattr(self, "sid", None)
        return "/socket.io/?EIO=4&transport=polling" + (f"&sid={sid}" if sid else "")

    def send(self, packet):
        status, _ = ask(self.port, "POST", self.path(), packet, source=self.source)
        assert status == 200, f"a POST went to another node: {status}"

    def next(self):
        while True:
            while not self.packets:
                status, text = ask(self.port, "GET", self.path(), source=self.source)
                if status != 200:
                    raise EOFError
                self.packets = text.split("\x1e")
            packet = self.packets.pop(0)
            if packet == "2":
                self.send("3")
            elif packet in ("1", "41/notifications,"):
                raise EOFError
            elif packet != "6":
                return packet


class WebSocket:
    def __init__(self, port, source, user):
        self.stream = socket.create_connection(("127.0.0.1", port), PATIENCE, (source, 0))
        key = base64.b64encode(os.urandom(16)).decode()
        self.stream.sendall(
            f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: notify.example.test\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        self.file = self.stream.makefile("rb")
        status = self.file.readline().split()[1]
        assert status == b"101", f"no WebSocket: {status}"
        while self.file.readline().strip():
            pass
        assert self.next()[0] == "0"
        self.send("40/notifications," + json.dumps({"token": token(user)}))
        assert self.next().startswith('40/notifications,{"sid"')

    def send(self, packet):
        data, mask = packet.encode(), os.urandom(4)
        length = bytes([0x80 | len(data)]) if len(data) < 126 else bytes([0x80 | 126]) + struct.pack(">H", len(data))
        self.stream.sendall(b"\x81" + length + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(data)))

    def next(self):
        while True:
            head = self.file.read(2)
            if len(head) < 2 or head[0] & 15 == 8:
                raise EOFError
            length = head[1] & 127
            if length > 125:
                length = struct.unpack(">H" if length == 126 else ">Q", self.file.read(2 if length == 126 else 8))[0]
            data = self.file.read(length).decode("utf-8", "replace")
            if data == "2":
                self.send("3")
            elif head[0] & 15 == 1:
                return data


class Node:
    def __init__(self, server, redis, work):
        self.port, self.control, self.metrics = free_port(), free_port(), free_port()
        settings = {
            "PORT": self.port, "CONTROL_PORT": self.control, "METRICS_PORT": self.metrics, "JWT_SECRET": SECRET,
            "INGEST_TOKEN": CREDENTIAL, "REDIS_URL": f"redis://127.0.0.1:{redis}", "TRUSTED_PROXIES": "127.0.0.1",
        }
        env = {name: str(value) for name, value in settings.items()}
        self.process = subprocess.Popen([server], env=env, stderr=open(work / f"node-{self.port}.log", "w"))
        until("a node", lambda: ask(self.port, "GET", "/readyz")[0] == 200)

    def call(self, method, path, body):
        headers = {"Authorization": f"Bearer {CREDENTIAL}", "Content-Type": "application/json"}
        return ask(self.control, method, path, json.dumps(body), headers)

    def emit(self, user, n):
        event = {"eventType": "record.accessed", "actorId": "a", "resourceId": user, "metadata": {"n": n}}
        status, text = self.call("POST", "/events", event)
        assert status == 202, (status, text)

    def clients(self):
        text = ask(self.metrics, "GET", "/metrics")[1]
        return {kind: int(many) for kind, many in re.findall(r'notify_clients\{transport="(\w+)"\} (\d+)', text)}


def nginx(port, nodes, work):
    text = (HERE / "nginx.conf").read_text().replace("listen 8080", f"listen 127.0.0.1:{port}")
    for at, node in enumerate(nodes, 1):
        text = text.replace(f"notify-{at}:3000", f"127.0.0.1:{node.port}")
    (work / "notify.conf").write_text(text)
    temp = "".join(f"{kind}_temp_path {work}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (work / "nginx.conf").write_text(
        f"daemon off;\nmaster_process off;\npid {work}/nginx.pid;\nerror_log {work}/nginx.log;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temp}include {work}/notify.conf;\n}}\n"
    )
    return ["nginx", "-e", f"{work}/nginx.log", "-c", str(work / "nginx.conf")]


def haproxy(port, nodes, work):
    text = (HERE / "haproxy.cfg").read_text().replace("bind :8080", f"bind 127.0.0.1:{port}")
    text = text.replace("maxconn 100000", "maxconn 1000")
    for at, node in enumerate(nodes, 1):
        text = text.replace(f"notify-{at}:3000", f"127.0.0.1:{node.port}")
    (work / "haproxy.cfg").write_text(text)
    subprocess.run(["haproxy", "-c", "-q", "-f", str(work / "haproxy.cfg")], check=True)
    return ["haproxy", "-db", "-f", str(work / "haproxy.cfg")]


def event(packet):
    name, payload = json.loads(packet.removeprefix("42/notifications,"))
    return name, [it["metadata"]["n"] for it in (payload if name == "queued.events" else [payload])]


def check(name, balancer, server, redis, work):
    nodes = [Node(server, redis, work) for _ in range(2)]
    port = free_port()
    log = open(work / f"{name}.log", "w")
    front = subprocess.Popen(balancer(port, nodes, work), stdout=log, stderr=log)
    try:
        opened = lambda: ask(port, "GET", "/socket.io/?EIO=4&transport=polling")[0] == 200
        until(f"{name} passes requests on", opened)
        users = {f"{name}-{kind.__name__}-{at}": (kind, f"127.0.1.{at + 1}") for kind in (Polling, WebSocket) for at in range(CLIENTS)}
        for user in users:
            assert nodes[0].call("PUT", f"/sessions/session-{user}", {"userId": user})[0] == 204
        clients = {user: kind(port, source, user) for user, (kind, source) in users.items()}
        spread = [node.clients() for node in nodes]
        assert all(sum(count.values()) > 0 for count in spread), f"all clients are at one node: {spread}"
        for n in (1, 2):
            for user in users:
                nodes[n % 2].emit(user, n)
        for user, client in clients.items():
            got = [event(client.next()) for _ in (1, 2)]
            assert got == [("record.accessed", [1]), ("record.accessed", [2])], (user, got)
        for path in ("/events", "/metrics", "/sessions/x", "/healthz"):
            assert ask(port, "GET", path)[0] == 404, f"{path} is open to the world"
        # A node ends: its clients are told, come back, and have missed nothing.
        leaving = nodes[1]
        leaving.process.send_signal(signal.SIGTERM)
        assert leaving.process.wait(15) == 0
        for user in users:
            nodes[0].emit(user, 3)
        moved = 0
        for user, client in clients.items():
            try:
                got = event(client.next())
            except (EOFError, OSError):
                moved += 1
                kind, source = users[user]
                got = event(until(f"{user} is let in again", lambda: again(kind, port, source, user)).next())
            assert got[1] == [3], (user, got)
        assert 0 < moved < len(users), f"{moved} of {len(users)} had to come back"
        print(f"{name}: {len(users)} clients over two nodes {spread}, {moved} came back when one ended, nothing missed")
    finally:
        for process in (front, *(node.process for node in nodes)):
            process.terminate()
            process.wait(15)


def again(kind, port, source, user):
    try:
        return kind(port, source, user)
    except (AssertionError, EOFError):
        return None


def main():
    server = os.path.realpath(sys.argv[1])
    missing = [name for name in ("redis-server", "nginx", "haproxy") if not shutil.which(name)]
    if missing:
        print(f"balancers.py: not tried, without {', '.join(missing)}", file=sys.stderr)
        sys.exit(3)
    with tempfile.TemporaryDirectory() as folder:
        work, redis = Path(folder), free_port()
        arguments = ["redis-server", "--port", str(redis), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        store = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
        try:
            until("redis", lambda: socket.create_connection(("127.0.0.1", redis), 1))
            for name, balancer in (("nginx", nginx), ("haproxy", haproxy)):
                check(name, balancer, server, redis, work)
        finally:
            store.terminate()
            store.wait(15)


main()
