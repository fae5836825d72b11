// What the page knows: the daemon's last word, kept as signals, and the ways on which
// it comes. Parts of the page read signals and are drawn again when those change.
import { signal, batch } from './lib.js'

export const access = signal(null) // what GET /v1/access said; null before
export const daemon = signal(null)
export const names = signal([]) // of all instances, in the daemon's order
export const instances = new Map() // name → a signal of the instance
export const link = signal('opening') // opening, live, cut
export const cutSince = signal(0) // ms, of link cut
export const now = signal(Date.now())
export const notes = signal([]) // what is said in passing: {id, text, tone}
export const question = signal(null) // what has to be confirmed: {title, text, verb, go}

// Samples of each instance: {t: [s], cpu: [%], mem: [bytes]}, of as long as the page is
// open and visible. sampled is counted up with each.
export const history = new Map()
export const sampled = signal(0)
const kept = 450 // 15 minutes

const every = 2000 // ms, between figures
const soon = 400 // ms, from an event to the figures that go with it,
const rest = 1000 // but so long from one question to the next

export const path = (name, verb) => '/v1/programs/' + encodeURIComponent(name) + (verb ? '/' + verb : '')

// ask talks to the API, and returns what it answers or throws an Error in its words,
// with status and diagnostics. Who isn't known any more gets to the login.
export const ask = async (method, url, body) => (await exchange(method, url, body)).value

async function exchange(method, url, body) {
  const r = await fetch(url, { method, cache: 'no-store', body: body && JSON.stringify(body), headers: body && { 'Content-Type': 'application/json' } })
  const v = await r.json().catch(() => null)
  if (r.ok) return { value: v, headers: r.headers }
  if (r.status === 401 && url !== '/v1/login') access.value = { read: false, act: false, login: true }
  const e = v?.error ?? { message: `the daemon answers with status ${r.status}` }
  throw Object.assign(new Error(e.message + (e.hint ? ` (${e.hint})` : '')), { status: r.status, kind: e.kind, diagnostics: e.diagnostics ?? [] })
}

let noted = 0

// note says something in passing, for a while and to screen readers. It takes the place
// of what was said about the same.
export function note(text, tone = 'calm', about = '') {
  const id = ++noted
  notes.value = [...notes.value.filter(n => !about || n.about !== about).slice(-3), { id, text, tone, about }]
  setTimeout(() => { notes.value = notes.value.filter(n => n.id !== id) }, 6000)
}

// act does a verb to a program or an instance, and says what came of it.
export async function act(verb, name, body = {}) {
  try {
    const { results } = await ask('POST', path(name, verb), body)
    for (const r of results.slice(0, 3)) note(`${r.name}: ${r.message}`, r.ok ? 'good' : 'bad', r.name)
    if (results.length > 3) note(`and ${results.length - 3} more`)
  } catch (e) {
    note(`cannot ${verb} ${name}: ${e.message}`, 'bad')
  }
  refreshSoon()
}

// confirmAct asks before what hurts.
export function confirmAct(verb, name) {
  if (verb === 'start') return act(verb, name)
  question.value = {
    title: `${verb} ${name}?`, verb,
    text: verb === 'stop' ? 'It is asked to end, with everything that it started, and stays down until it is started.' : 'It is stopped with everything that it started, and started again.',
    go: () => act(verb, name),
  }
}

// signals are those that are offered, with what they mean to most programs.
export const signals = [['HUP', 'read the configuration again, open logs anew'], ['TERM', 'end, in order'], ['INT', 'end, as Ctrl-C asks'],
  ['QUIT', 'end, many with a dump of what they do'], ['USR1', 'as the program says'], ['USR2', 'as the program says'], ['WINCH', 'as the program says'],
  ['STOP', 'stand still'], ['CONT', 'go on'], ['KILL', 'end at once, unasked']]

// sendSignal sends a signal to the main processes of a program or an instance, after a
// question where it hurts.
export function sendSignal(name, sig) {
  const go = () => act('signal', name, { signal: sig })
  const text = { KILL: 'Its main process ends at once, without a chance to save anything.', STOP: 'Its main process stands still until it is told to go on (CONT).' }[sig]
  if (!text) return go()
  question.value = { title: `send ${sig} to ${name}?`, verb: `send ${sig}`, text, go }
}

let listed = 0 // number of the latest event that the latest list shows
let newer = [] // changes of state that came after it

// changed returns an instance after a change of its state. Figures follow, and what has
// no process has none.
const changed = (i, e) => ({ ...i, ...(e.pid ? {} : { cpu_percent: null, memory_bytes: null }), state: e.to, ready: e.to === 'running', pid: e.pid ?? 0, since: e.at, last_exit: e.exit ?? i.last_exit, message: e.message })

// take puts a list of instances, true up to an event, into the signals. A signal gets a
// new value only when something of it is different, so that what didn't change isn't
// drawn again.
function take(list, upTo) {
  const t = Date.now()
  const order = list.map(i => i.name)
  listed = upTo
  newer = newer.filter(e => e.seq > upTo)
  const since = new Map(newer.map(e => [e.name, e])) // the latest of each
  for (let i of list) {
    let s = instances.get(i.name)
    if (!s) instances.set(i.name, (s = signal(null)))
    const before = s.peek()
    // When it came up, which doesn't change, instead of how long ago that was.
    i.upAt = before && before.pid === i.pid && before.generation === i.generation ? before.upAt : t - i.uptime_seconds * 1000
    delete i.uptime_seconds
    if (since.has(i.name)) i = changed(i, since.get(i.name))
    if (JSON.stringify(before) !== JSON.stringify(i)) s.value = i
    sample(i, t / 1000)
  }
  const there = new Set(order)
  for (const name of instances.keys()) if (!there.has(name)) { instances.delete(name); history.delete(name) }
  if (order.join('\n') !== names.peek().join('\n')) names.value = order
  sampled.value++
  now.value = t
}

function sample(i, t) {
  let h = history.get(i.name)
  if (!h) history.set(i.name, (h = { t: [], cpu: [], mem: [] }))
  if (t - h.t.at(-1) < 1) return // events ask more often than plots need
  for (const [k, v] of [['t', t], ['cpu', i.cpu_percent], ['mem', i.memory_bytes]]) {
    h[k].push(v)
    if (h[k].length > kept) h[k].shift()
  }
}

let asking = null
let asked = 0 // when, in ms
let timer = 0

// refresh asks for everything once. What the daemon has told others within age seconds
// will do: all who look at the same time cost it little more than one.
export async function refresh(age = 1) {
  if (asking && !age) await asking.catch(() => {}) // that one may be of before
  asking ??= (async () => {
    try {
      asked = Date.now()
      const d = await ask('GET', '/v1/daemon?max_age=' + age)
      const { value, headers } = await exchange('GET', '/v1/programs?max_age=' + age)
      batch(() => {
        daemon.value = d
        take(value, +headers.get('Tend-Event-Seq'))
      })
    } finally {
      asking = null
    }
  })()
  return asking
}

function schedule(ms) {
  clearTimeout(timer)
  if (document.hidden || link.peek() !== 'live') return
  timer = setTimeout(() => refresh().then(() => schedule(every), cut), ms)
}

let hurry = false

function refreshSoon() {
  if (hurry) return
  hurry = true
  setTimeout(() => { hurry = false; schedule(0) }, Math.max(soon, asked + rest - Date.now()))
}

// Listeners are called with each event that the daemon tells: of changes that come close
// together only the latest.
export const listeners = new Set()

let stream = null
let seq = 0
let tries = 0

// kinds are those of events that the daemon names; "missed" is of the stream itself.
const kinds = ['state', 'program.added', 'program.removed', 'program.enabled', 'program.disabled', 'program.let-go', 'program.changed', 'program.renewed', 'program.warning', 'files.watched',
  'config.applied', 'config.rejected', 'config.rolled-back', 'daemon.started', 'daemon.stopping', 'daemon.adopted', 'daemon.warning', 'log.trouble', 'log.reopened']

// connect asks for everything and then follows what happens.
export async function connect() {
  close()
  if (document.hidden || access.peek()?.read === false) return
  newer = [] // of the daemon of before, if there was one
  try {
    await refresh(0)
    if (!seq || seq > listed) seq = listed // the first time, or another daemon
  } catch (e) {
    return cut(e)
  }
  stream = new EventSource('/v1/events?latest=1&since=' + seq)
  stream.onopen = () => {
    if (link.peek() === 'cut') note('the daemon answers again', 'good')
    tries = 0
    link.value = 'live'
    schedule(every)
  }
  stream.onerror = cut
  for (const kind of kinds) stream.addEventListener(kind, m => hear(JSON.parse(m.data)))
  stream.addEventListener('missed', refreshSoon)
}

function close() {
  clearTimeout(timer)
  stream?.close()
  stream = null
}

let retry = 0

// cut says that the daemon can't be reached, and tries again.
function cut() {
  close()
  if (document.hidden || access.peek()?.read === false) return
  if (link.peek() !== 'cut') {
    cutSince.value = Date.now()
    link.value = 'cut'
  }
  clearTimeout(retry)
  retry = setTimeout(connect, Math.min(5000, 300 * 2 ** tries++))
}

let waiting = [] // events that aren't taken in yet

// hear takes events in, many at a time where they come fast.
function hear(e) {
  if (waiting.push(e) > 1) return
  setTimeout(() => batch(() => {
    const list = waiting
    waiting = []
    list.forEach(happened)
    const trouble = list.filter(e => (e.to === 'failed' || e.to === 'backoff') && ![e.name, e.program].some(n => location.hash === '#/' + encodeURIComponent(n)))
    if (trouble.length > 3) note(`${trouble.length} are in trouble: ${trouble[0].name}, ${trouble[1].name}, …`, 'bad', 'many')
    else for (const e of trouble) note(`${e.name}: ${e.message}`, e.to === 'failed' ? 'bad' : 'warn', e.name)
  }), 20)
}

function happened(e) {
  seq = e.seq
  if (e.kind === 'state' && e.seq > listed) { // the state at once, else the list has it
    newer.push(e)
    const s = instances.get(e.name)
    if (s) s.value = changed(s.peek(), e)
  }
  if (e.kind === 'config.rejected' || e.kind === 'config.applied') note(e.message, e.kind === 'config.applied' ? 'good' : 'bad')
  for (const f of listeners) f(e)
  refreshSoon()
}

// enter finds out who is asking, and begins.
export async function enter() {
  try {
    access.value = await ask('GET', '/v1/access')
  } catch {
    cutSince.value = Date.now()
    link.value = 'cut'
    setTimeout(enter, 1000)
    return
  }
  connect()
}

export async function login(token) {
  access.value = { ...await ask('POST', '/v1/login', { token }), login: true }
  connect()
}

export async function logout() {
  await ask('POST', '/v1/logout', {})
  close()
  access.value = { read: false, act: false, login: true }
}

// Who doesn't look costs the daemon nothing.
document.addEventListener('visibilitychange', () => (document.hidden ? close() : connect()))
setInterval(() => { if (!document.hidden) now.value = Date.now() }, 1000)
