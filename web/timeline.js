// The history of a program: its runs as a band, and what happened in words. Both are
// made of what the daemon holds as events, and of the runs that it has kept.
import { html } from './lib.js'
import { bare } from './ansi.js'
import { now } from './state.js'
import { span, size, time, look, roughly } from './words.js'

const nearStart = 1000 // ms, that two times of one start may lie apart
const nearEnd = 2 // of one end
const shown = 100 // moments

const tones = state => look({ state, ready: true, wanted: true, enabled: true })[2]

// toneOf says how a run has ended, as a class of the style sheet.
const toneOf = r => (r.running || r.success ? 'good' : failed(r) ? 'bad' : 'off')

const failed = r => !r.running && !r.success && !r.wished && !r.unknown && r.ended

// usedBy says what a run has used.
function usedBy(r) {
  const memory = r.peak_memory_bytes != null ? size(r.peak_memory_bytes) : r.peak_memory_at_most_bytes != null ? '< ' + size(r.peak_memory_at_most_bytes) : ''
  return [memory && 'memory ' + memory, r.cpu_seconds != null && 'cpu ' + span(r.cpu_seconds)].filter(Boolean).join(', ')
}

const lasted = r => (r.seconds == null ? '' : ' after ' + span(r.seconds))

// moments puts events and runs together, the latest first: of a start or an end that
// both tell, the event, which says what came of it.
export function moments(events, runs) {
  const at = t => new Date(t).getTime()
  const near = (a, b, by) => Math.abs(at(a) - at(b)) <= by
  const told = new Map() // event → the run whose end it tells
  const list = []
  for (const r of [...runs].reverse()) { // of one end and the next start at the same time, the end first
    if (r.pid && !events.some(e => e.to === 'starting' && e.pid === r.pid && e.name === r.name && near(e.at, r.started, nearStart)))
      list.push({ at: r.started, name: r.name, tone: 'move', what: 'started', text: 'pid ' + r.pid, key: `s${r.name} ${r.generation} ${r.started}` })
    if (r.running) continue
    const e = r.ended && events.findLast(e => e.exit && e.name === r.name && !told.has(e) && (e.exit.signal ?? '') === r.signal && near(e.exit.at, r.ended, nearEnd))
    if (e) told.set(e, r)
    else list.push({ at: r.ended ?? r.started, name: r.name, tone: toneOf(r), what: 'ended', text: r.reason + lasted(r), run: r, key: `e${r.name} ${r.generation} ${r.started}` })
  }
  for (const e of events) {
    const r = told.get(e)
    let text = e.message === e.to ? '' : e.message ?? ''
    if (r && (r.wished || !text)) text = r.reason + lasted(r)
    else if (e.exit && !text.includes(e.exit.reason)) text += (text && ' ') + e.exit.reason
    list.push({ at: e.at, name: e.name, tone: e.to ? tones(e.to) : 'calm', from: e.from, what: e.to || e.kind, text, run: r, key: e.seq })
  }
  return list.sort((a, b) => at(a.at) - at(b.at)).reverse()
}

// Timeline shows the runs of each instance as a band, and what happened in words.
export function Timeline({ events, runs, list }) {
  const all = moments(events, runs ?? [])
  const oldest = all.at(-1)
  return html`<section class="card timeline" aria-label="history">
    <header><h2>history</h2><span class="dim small">${oldest ? 'since ' + time(oldest.at) : ''}</span></header>
    ${list.length <= 6 && list.map(i => html`<${Band} key=${i.name} i=${i} states=${events.filter(e => e.kind === 'state' && e.name === i.name)} runs=${(runs ?? []).filter(r => r.name === i.name)} label=${list.length > 1} />`)}
    <ol>${all.slice(0, shown).map(m => html`<li key=${m.key}>
      <time class="num dim" datetime=${m.at}>${time(m.at)}</time>
      <span class=${'dot ' + m.tone} aria-hidden="true"></span>
      <span>${list.length > 1 && m.name ? html`<b>${m.name}</b> ` : ''}${m.from && html`<span class="dim">${m.from} → </span>`}${m.what}${m.text && html` <span class="dim">${m.text}</span>`}
        ${m.run && usedBy(m.run) && html` <span class="dim small used">${usedBy(m.run)}</span>`}
        ${m.run && failed(m.run) && m.run.lines.length > 0 && html`<code class="last">${m.run.lines.slice(-2).map(bare).join('\n')}</code>`}</span>
    </li>`)}</ol>
    ${!all.length && html`<p class="dim">${runs ? 'it has not run yet' : 'asking the daemon …'}</p>`}
  </section>`
}

const day = 24 * 3600 * 1000

// stretches returns how an instance was from when to when, oldest first: the runs of
// the last day before what the daemon holds as events, then the states that those tell.
function stretches(states, runs) {
  const first = states.length ? new Date(states[0].at).getTime() : Infinity
  const list = []
  for (const r of [...runs].reverse()) {
    const from = new Date(r.started).getTime()
    const to = Math.min(r.ended ? new Date(r.ended).getTime() : r.running ? Math.max(now.value, from) : from, first)
    if (from >= first || to < now.value - day) continue
    list.push({ from, to, tone: 'good', text: `run from ${time(r.started)}${r.running ? '' : ', ' + r.reason}` })
    if (to < first) list.push({ from: to, to: first, tone: toneOf(r), text: r.reason }) // until the next begins
  }
  for (const e of states) list.push({ from: new Date(e.at).getTime(), tone: tones(e.to), text: `${e.to}, ${time(e.at)}` })
  list.sort((a, b) => a.from - b.from)
  const end = Math.max(now.value, list.at(-1)?.from ?? 0)
  return list.map((s, n) => ({ ...s, to: n + 1 < list.length ? list[n + 1].from : end })).filter(s => s.tone)
}

// Band is the recent past of an instance, coloured by how it was.
function Band({ i, states, runs, label }) {
  const list = stretches(states, runs)
  if (!list.length) return null
  const start = Math.max(list[0].from, Math.min(now.value - day, states.length ? new Date(states[0].at).getTime() : Infinity))
  const wide = Math.max(1000, list.at(-1).to - start)
  const x = t => (Math.max(0, t - start) / wide) * 1000
  return html`<div class="band">${label && html`<span class="small dim">${i.name}</span>`}
    <svg viewBox="0 0 1000 10" preserveAspectRatio="none" role="img" aria-label=${`${i.name}: ${list.length} changes in ${roughly(wide / 1000)}`}>
    ${list.map(s => html`<rect class=${s.tone} x=${x(s.from).toFixed(1)} width=${Math.max(1.5, x(s.to) - x(s.from)).toFixed(1)} height="10"><title>${s.text}</title></rect>`)}</svg></div>`
}
