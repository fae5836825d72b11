// Words, numbers and symbols for people: the same as those of the command line.

const two = (seconds, big, bigUnit, small, smallUnit) => {
  const rest = Math.floor((seconds % big) / small)
  return `${Math.floor(seconds / big)} ${bigUnit}` + (rest ? ` ${rest} ${smallUnit}` : '')
}

// span returns a time in seconds in at most two units: "0.3 s", "3 min", "2 d 4 h".
export function span(s) {
  if (!(s > 0)) return '0 s'
  if (s < 0.1) return `${Math.max(1, Math.floor(s * 1000))} ms`
  if (s < 10) return `${Math.floor(s * 10) / 10} s`
  if (s < 60) return `${Math.floor(s)} s`
  if (s < 3600) return `${Math.floor(s / 60)} min`
  if (s < 86400) return two(s, 3600, 'h', 60, 'min')
  return two(s, 86400, 'd', 3600, 'h')
}

// roughly returns a time in seconds in one unit.
export function roughly(s) {
  if (s >= 85800) return `${Math.round(s / 86400)} d`
  if (s >= 3570) return `${Math.round(s / 3600)} h`
  if (s >= 59.5) return `${Math.round(s / 60)} min`
  return s < 10 ? span(s) : `${Math.round(s)} s`
}

// size returns bytes in units of 1000: "48 MB".
export function size(n) {
  if (n == null) return '–'
  let unit = 0
  for (; n >= 999.5 && unit < 5; unit++) n /= 1000
  return n.toFixed(unit && n < 9.95 ? 1 : 0) + ' ' + ['B', 'kB', 'MB', 'GB', 'TB', 'PB'][unit]
}

export const percent = p => (p == null ? '–' : p.toFixed(p < 9.95 ? 1 : 0) + '%')

const pad = n => String(n).padStart(2, '0')

// time returns a moment as the time of day, with the date where it is another day.
export function time(iso, seconds = true) {
  const t = new Date(iso)
  const clock = `${pad(t.getHours())}:${pad(t.getMinutes())}` + (seconds ? `:${pad(t.getSeconds())}` : '')
  if (t.toDateString() === new Date().toDateString()) return clock
  return `${t.getDate()} ${t.toLocaleString('en', { month: 'short' })} ${clock}`
}

// up says whether an instance is where it is wanted to be.
export function up(i) {
  if (!i.wanted) return true
  if (['running', 'done', 'draining'].includes(i.state)) return true
  if (i.state === 'waiting') return !!i.idle
  return i.state === 'exited' && !!i.last_exit?.success
}

// look returns how a state is shown: [symbol, word, tone]. The tone is a class of
// the style sheet.
export function look(i) {
  switch (i.state) {
    case 'running':
      if (i.healthy === false) return ['●', 'unhealthy', 'bad']
      return i.ready ? ['●', 'ready', 'good'] : ['◐', 'running', 'good']
    case 'starting': return ['◐', 'starting', 'move']
    case 'waiting': return ['◷', 'waiting', 'calm']
    case 'backoff': return ['◌', 'backoff', 'warn']
    case 'stopping': case 'draining': return ['◑', i.state, 'move']
    case 'done': return ['✓', 'done', 'good']
    case 'failed': return ['✗', 'failed', 'bad']
    case 'exited': return up(i) ? ['○', 'exited', 'off'] : ['✗', 'exited', 'bad']
    case 'stopped': return ['○', i.enabled ? 'stopped' : 'disabled', 'off']
  }
  return ['?', i.state, 'calm']
}

// rank orders states by how much they want to be looked at.
export const rank = i => ['bad', 'warn', 'move', 'calm', 'good', 'off'].indexOf(look(i)[2])

// lastExit says how an instance ended last and what comes next. now is in ms.
export function lastExit(i, now) {
  const parts = []
  const e = i.last_exit
  const ahead = i.next_run && Math.max(0, (new Date(i.next_run) - now) / 1000)
  if (e) {
    let reason = e.reason
    if (i.state === 'done' || (i.state === 'waiting' && e.success)) reason = 'done'
    else if (i.state === 'failed' && !i.next_run) reason = i.message || reason
    parts.push(reason)
    if (i.state !== 'waiting' || !i.next_run) parts.push(roughly((now - new Date(e.at)) / 1000) + ' ago')
  }
  if (!i.next_run) {
    if (i.state === 'waiting' && i.message) parts.unshift(i.message)
  } else if (i.state === 'waiting' || i.state === 'done') parts.push(`next ${time(i.next_run, false)} (in ${roughly(ahead)})`)
  else if (i.state === 'backoff' || i.state === 'failed') parts.push('again in ' + roughly(ahead))
  return parts.join(', ')
}

export const count = (n, thing) => `${n} ${thing}${n === 1 ? '' : 's'}`
