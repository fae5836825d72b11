<?php
// PHP's curl, over the unix socket and over TCP.
[, $socket, $port] = $argv;
foreach (["unix", "tcp"] as $way) {
    $curl = curl_init($way === "unix" ? "http://localhost/RPC2" : "http://127.0.0.1:$port/RPC2");
    curl_setopt_array($curl, [CURLOPT_RETURNTRANSFER => true, CURLOPT_POST => true, CURLOPT_HTTPHEADER => ["Content-Type: text/xml"]]);
    if ($way === "unix") {
        curl_setopt($curl, CURLOPT_UNIX_SOCKET_PATH, $socket);
    } else {
        curl_setopt($curl, CURLOPT_USERPWD, "me:foobar");
    }
    $call = function (string $method, ...$args) use ($curl): string {
        $params = "";
        foreach ($args as $arg) {
            $value = is_int($arg) ? "<int>$arg</int>" : (is_bool($arg) ? "<boolean>" . (int) $arg . "</boolean>" : "<string>" . htmlspecialchars($arg) . "</string>");
            $params .= "<param><value>$value</value></param>";
        }
        curl_setopt($curl, CURLOPT_POSTFIELDS, "<?xml version=\"1.0\"?>\n<methodCall><methodName>$method</methodName><params>$params</params></methodCall>");
        $body = curl_exec($curl);
        if ($body === false) {
            return "error " . curl_error($curl);
        }
        $status = curl_getinfo($curl, CURLINFO_RESPONSE_CODE);
        if ($status !== 200) {
            return "status $status";
        }
        $xml = simplexml_load_string($body);
        $members = [];
        foreach ($xml->xpath("//member") as $member) {
            $name = (string) $member->name;
            if (in_array($name, ["faultCode", "faultString", "statename", "name", "group", "status"])) {
                $members[] = "$name=" . $member->value->children()[0];
            }
        }
        sort($members);
        return $members ? implode(" ", $members) : trim((string) $xml->xpath("//value")[0]->children()[0]);
    };
    foreach ([
        ["supervisor.getState"], ["supervisor.getAPIVersion"], ["supervisor.getAllProcessInfo"], ["supervisor.startProcess", "idle"],
        ["supervisor.startProcess", "idle", true], ["supervisor.stopProcess", "idle"], ["supervisor.getProcessInfo", "nope"],
        ["supervisor.readProcessStdoutLog", "talker", 0, 0], ["supervisor.signalProcessGroup", "grp", "CONT"], ["supervisor.startProcess"],
        ["supervisor.sendRemoteCommEvent", "type", str_repeat("<&>", 2000)], // above 1024 bytes curl asks with Expect first
    ] as $request) {
        echo $way, " ", $request[0], ": ", $call(...$request), "\n";
    }
    curl_setopt($curl, CURLOPT_USERPWD, "me:wrong");
    echo $way, " wrong password: ", $call("supervisor.getState"), "\n";
}
echo "done\n";
