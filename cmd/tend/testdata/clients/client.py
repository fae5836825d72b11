# Supervisord's own transport, over its socket and over TCP.
import sys
import xmlrpc.client
from supervisor.xmlrpc import SupervisorTransport

socket, port = sys.argv[1:]
for user, password, url in ((None, None, "unix://" + socket), ("me", "foobar", "http://127.0.0.1:" + port)):
    server = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=SupervisorTransport(user, password, url))

    def tell(what, call, *args):
        try:
            result = call(*args)
        except xmlrpc.client.Fault as fault:
            result = "fault %d %s" % (fault.faultCode, fault.faultString)
        print("%s: %s" % (what, result))

    s = server.supervisor
    tell("state", lambda: s.getState()["statename"])
    tell("api", s.getAPIVersion)
    tell("names", lambda: " ".join("%s:%s=%s" % (p["group"], p["name"], p["statename"]) for p in s.getAllProcessInfo()))
    tell("start", s.startProcess, "idle")
    tell("start again", s.startProcess, "idle")
    tell("pid", lambda: s.getProcessInfo("idle")["pid"] > 1)
    tell("stop", s.stopProcess, "idle")
    tell("unknown", s.getProcessInfo, "nope")
    tell("log", s.readProcessStdoutLog, "talker", 0, 0)
    tell("tail", s.tailProcessStdoutLog, "talker", 0, 5)
    tell("group", lambda: [r["status"] for r in s.signalProcessGroup("grp", "CONT")])
    tell("config", lambda: s.getAllConfigInfo()[0]["command"])
    tell("methods", lambda: "supervisor.startProcess" in server.system.listMethods())
    tell("multicall", server.system.multicall, [{"methodName": "supervisor.getAPIVersion", "params": []}, {"methodName": "nope", "params": []}])
    tell("arguments", s.startProcess)
    tell("no method", s.nope)
    tell("text", s.sendRemoteCommEvent, "type", "zażółć <&> \t")
server = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=SupervisorTransport("me", "wrong", "http://127.0.0.1:" + port))
try:
    print(server.supervisor.getState())
except xmlrpc.client.ProtocolError as error:
    print("wrong password:", error.errcode, error.errmsg)
print("done")
