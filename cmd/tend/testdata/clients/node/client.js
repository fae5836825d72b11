// The package xmlrpc of npm, over TCP.
const xmlrpc = require("xmlrpc");

const client = xmlrpc.createClient({ host: "127.0.0.1", port: +process.argv[3], path: "/RPC2", basic_auth: { user: "me", pass: "foobar" } });
const call = (method, ...args) => new Promise((resolve) => client.methodCall(method, args, (error, value) => {
	if (error) {
		resolve(error.faultCode ? `fault ${error.faultCode} ${error.faultString}` : `error ${error.message}`);
	} else {
		resolve(value);
	}
}));
(async () => {
	const tell = async (what, pick, method, ...args) => {
		const value = await call(method, ...args);
		console.log(`${what}: ${typeof value === "string" && value.startsWith("fault") ? value : JSON.stringify(pick(value))}`);
	};
	const same = (value) => value;
	await tell("state", (v) => v.statename, "supervisor.getState");
	await tell("names", (v) => v.map((p) => `${p.group}:${p.name}=${p.statename}`), "supervisor.getAllProcessInfo");
	await tell("start", same, "supervisor.startProcess", "idle");
	await tell("start again", same, "supervisor.startProcess", "idle", true);
	await tell("pid", (v) => v.pid > 1, "supervisor.getProcessInfo", "idle");
	await tell("stop", same, "supervisor.stopProcess", "idle");
	await tell("unknown", same, "supervisor.getProcessInfo", "nope");
	await tell("log", same, "supervisor.readProcessStdoutLog", "talker", 0, 0);
	await tell("tail", same, "supervisor.tailProcessStdoutLog", "talker", 0, 5);
	await tell("group", (v) => v.map((p) => p.status), "supervisor.signalProcessGroup", "grp", "CONT");
	await tell("multicall", (v) => v[0], "system.multicall", [{ methodName: "supervisor.getAPIVersion", params: [] }]);
	// All at once, each on its own connection.
	console.log("together:", (await Promise.all(Array.from({ length: 20 }, () => call("supervisor.getAPIVersion")))).join(" "));
	console.log("done");
})();
