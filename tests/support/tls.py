# tls.py TARGET_PORT PROXY_LOG CERT:KEY... - TLS before a plain server, for tests. Every certificate gets a port on 127.0.0.1 and, the same one,
# on 127.0.0.2; what comes through goes to 127.0.0.1:TARGET_PORT. One port more is a proxy that takes CONNECT with a password and leads to the
# first of them whatever was asked for; the heads of its requests are added to PROXY_LOG. Prints the ports, the proxy's last.
# SPDX-License-Identifier: Apache-2.0
import socket, ssl, sys, threading


def pump(a, b):
    try:
        while data := a.recv(65536): b.sendall(data)
    except OSError: pass
    for s in (a, b):
        try: s.shutdown(socket.SHUT_RDWR)
        except OSError: pass


def join(a, b):
    t = threading.Thread(target=pump, args=(a, b), daemon=True)
    t.start()
    pump(b, a)
    t.join()


def tls(conn, context, target):
    try: secure = context.wrap_socket(conn, server_side=True)
    except OSError: return # the client does not trust us, and says so
    join(secure, socket.create_connection(("127.0.0.1", target)))


def proxy(conn, log, target):
    head = b""
    while b"\r\n\r\n" not in head:
        data = conn.recv(65536)
        if not data: return
        head += data
    with open(log, "ab") as f: f.write(head)
    if b"\r\nproxy-authorization:" not in head.lower():
        conn.sendall(b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        return conn.close()
    conn.sendall(b"HTTP/1.1 200 Yes\r\n\r\n")
    join(conn, socket.create_connection(("127.0.0.1", target)))


def serve(listener, fn, *args):
    while True: threading.Thread(target=fn, args=(listener.accept()[0], *args), daemon=True).start()


def listen(host, port=0):
    s = socket.socket()
    s.bind((host, port))
    s.listen(16)
    return s


def both(): # the same port on both addresses
    for _ in range(20):
        a = listen("127.0.0.1")
        try: return a, listen("127.0.0.2", a.getsockname()[1])
        except OSError: a.close()
    sys.exit("no port that is free on both addresses")


def main():
    ports = []
    for pair in sys.argv[3:]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pair.split(":"))
        for s in both(): threading.Thread(target=serve, args=(s, tls, context, int(sys.argv[1])), daemon=True).start()
        ports.append(s.getsockname()[1])
    s = listen("127.0.0.1")
    print(*ports, s.getsockname()[1], flush=True)
    serve(s, proxy, sys.argv[2], ports[0])


main()
