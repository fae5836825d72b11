# Ruby's XMLRPC, over TCP.
require "xmlrpc/client"

$stdout.sync = true
server = XMLRPC::Client.new3(host: "127.0.0.1", port: ARGV[1].to_i, path: "/RPC2", user: "me", password: "foobar")
tell = lambda do |what, method, *args, &pick|
  ok, result = server.call2(method, *args)
  if ok
    puts "#{what}: #{pick ? pick.call(result) : result}"
  else
    puts "#{what}: fault #{result.faultCode} #{result.faultString}"
  end
end
tell.call("state", "supervisor.getState") { |r| r["statename"] }
tell.call("api", "supervisor.getAPIVersion")
tell.call("names", "supervisor.getAllProcessInfo") { |r| r.map { |p| "#{p["group"]}:#{p["name"]}=#{p["statename"]}" }.join(" ") }
tell.call("start", "supervisor.startProcess", "idle")
tell.call("start again", "supervisor.startProcess", "idle", true)
tell.call("pid", "supervisor.getProcessInfo", "idle") { |r| r["pid"] > 1 }
tell.call("stop", "supervisor.stopProcess", "idle")
tell.call("unknown", "supervisor.getProcessInfo", "nope")
tell.call("log", "supervisor.readProcessStdoutLog", "talker", 0, 0)
tell.call("tail", "supervisor.tailProcessStdoutLog", "talker", 0, 5) { |r| r.inspect }
tell.call("group", "supervisor.signalProcessGroup", "grp", "CONT") { |r| r.map { |p| p["status"] }.inspect }
tell.call("arguments", "supervisor.startProcess")
tell.call("multicall", "system.multicall", [{ "methodName" => "supervisor.getAPIVersion", "params" => [] }, { "methodName" => "nope", "params" => [] }]) { |r| "#{r[0]} #{r[1]["faultCode"]}" }
# A second client on its own connection, without its password.
begin
  XMLRPC::Client.new3(host: "127.0.0.1", port: ARGV[1].to_i, path: "/RPC2").call("supervisor.getState")
rescue => error
  puts "no password: #{error.message.lines.first.strip}"
end
puts "done"
