// The list of programs: live, folded, filtered, sorted, and cheap with a thousand.
import { html, signal, computed, useComputed, useEffect } from './lib.js'
import { access, names, instances, now, confirmAct, link } from './state.js'
import { look, rank, span, percent, size, lastExit, count } from './words.js'
import { Spark } from './plot.js'

export const filter = signal('')
export const tone = signal('') // only of this tone
export const sort = signal({ by: '', down: false }) // '': the daemon's order
export const selected = signal('') // the key of a row
const folds = signal(new Map()) // program → folded, where somebody said so

const foldFrom = 5 // instances, from which on a program is folded by itself

export const open = name => { location.hash = '#/' + encodeURIComponent(name) }

// values are what columns are sorted by: of an instance, and how those of a group make
// one.
const sum = list => list.reduce((a, b) => a + b, 0)
const values = {
  name: [i => i.name, list => list[0]],
  state: [rank, list => Math.min(...list)],
  up: [i => (i.pid ? -i.upAt : -Infinity), list => Math.max(...list)],
  restarts: [i => i.restarts, sum],
  cpu: [i => i.cpu_percent ?? 0, sum],
  mem: [i => i.memory_bytes ?? 0, sum],
}

const folded = program => folds.value.get(program[0].program) ?? (program.length >= foldFrom)

export function fold(name, yes) {
  folds.value = new Map(folds.value).set(name, yes)
}

// rows are what is shown: [{key, program, list}] for the head of a group, {key, name} for
// an instance.
export const rows = computed(() => {
  const text = filter.value.trim().toLowerCase()
  const programs = new Map()
  for (const name of names.value) {
    const i = instances.get(name)?.value
    if (!i) continue
    if (!programs.has(i.program)) programs.set(i.program, [])
    programs.get(i.program).push(i)
  }
  const wanted = i => (!tone.value || look(i)[2] === tone.value) && (!text || i.name.toLowerCase().includes(text) || look(i)[1].includes(text))
  let groups = [...programs.values()].map(all => ({ all, list: all.filter(wanted) })).filter(g => g.list.length)
  const { by, down } = sort.value
  if (by) {
    const [one, many] = values[by]
    const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1)
    groups = groups.map(g => ({ ...g, list: [...g.list].sort((a, b) => order(one(a), one(b))), v: many(g.list.map(one)) })).sort((a, b) => order(a.v, b.v))
  }
  const out = []
  for (const { all, list } of groups) {
    if (all.length === 1) { out.push({ key: all[0].name, name: all[0].name }); continue }
    const shut = folded(all) && !text
    out.push({ key: 'group ' + all[0].program, program: all[0].program, list, shut })
    if (!shut) for (const i of list) out.push({ key: i.name, name: i.name, child: true })
  }
  return out
})

// Of a long list only the rows in sight, and some around them, are in the document: a
// thousand programs cost no more than those that are seen.
const long = 150 // rows, from which on that is so
const around = 20 // rows, above and below
const sight = signal([0, 80]) // the first row in the document, and the one after the last
let rowHeight = 39 // px, all the same; measured when one is there

// see finds out which rows are in sight.
function see() {
  const box = document.querySelector('.rows')
  if (!box) return
  rowHeight = box.firstElementChild?.getBoundingClientRect().height || rowHeight
  const top = box.getBoundingClientRect().top
  const step = n => Math.floor(n / 10) * 10 // not drawn anew for each
  const from = Math.max(0, step(-top / rowHeight - around))
  const to = step((innerHeight - top) / rowHeight + around + 10)
  const [a, b] = sight.peek()
  if (a !== from || b !== to) sight.value = [from, to]
}

// reveal scrolls as far as is needed to have a row in sight.
export function reveal(at) {
  const box = document.querySelector('.rows')
  if (!box) return
  const top = box.getBoundingClientRect().top + at * rowHeight
  const above = 100 // px, what lies over the list: the heads
  if (top < above) scrollBy(0, top - above)
  else if (top + 2 * rowHeight > innerHeight) scrollBy(0, top + 2 * rowHeight - innerHeight)
  see()
}

export function List() {
  const shown = rows.value
  const whole = shown.length < long
  const [from, to] = whole ? [0, shown.length] : sight.value
  const first = Math.max(0, Math.min(from, shown.length - (to - from)))
  useEffect(see, [shown.length])
  useEffect(() => {
    let due = 0
    const soon = () => { due ||= requestAnimationFrame(() => { due = 0; see() }) }
    addEventListener('scroll', soon, { passive: true })
    addEventListener('resize', soon)
    return () => { cancelAnimationFrame(due); removeEventListener('scroll', soon); removeEventListener('resize', soon) }
  }, [])
  return html`<div class="list" role="table" aria-label="programs" aria-rowcount=${shown.length + 1}>
    <div class="row head" role="row" aria-rowindex="1">
      <${Head} by="name" /><${Head} by="state" /><span role="columnheader" class="pid">pid</span><${Head} by="up" />
      <${Head} by="restarts" right /><${Head} by="cpu" right /><${Head} by="mem" right />
      <span role="columnheader" class="last">last exit</span><span role="columnheader" class="acts"><span class="hidden">actions</span></span>
    </div>
    <div class="rows" role="rowgroup" style=${whole ? {} : { height: shown.length * rowHeight + 'px', paddingTop: first * rowHeight + 'px' }}>
      ${shown.slice(first, to).map((r, n) => (r.list
        ? html`<${Group} key=${r.key} at=${first + n} program=${r.program} list=${r.list} shut=${r.shut} />`
        : html`<${Row} key=${r.key} at=${first + n} name=${r.name} child=${r.child} />`))}
    </div>
    ${shown.length === 0 && html`<p class="none">${empty()}</p>`}
  </div>`
}

function empty() {
  if (link.value === 'opening') return 'asking the daemon …'
  return names.value.length ? 'no program is like that' : 'the daemon runs, but no program is configured'
}

function Head({ by, right }) {
  const { by: current, down } = sort.value
  const here = current === by
  const next = () => { sort.value = !here ? { by, down: ['cpu', 'mem', 'restarts'].includes(by) } : down === ['cpu', 'mem', 'restarts'].includes(by) ? { by, down: !down } : { by: '', down: false } }
  return html`<span role="columnheader" class=${by + (right ? ' right' : '')} aria-sort=${here ? (down ? 'descending' : 'ascending') : 'none'}>
    <button class="sort" onClick=${next}>${by}${here ? (down ? ' ↓' : ' ↑') : ''}</button></span>`
}

export function State({ i }) {
  const [symbol, word, colour] = look(i)
  return html`<span class=${'state ' + colour}><span aria-hidden="true">${symbol}</span> ${word}</span>`
}

// Row is an instance. It is drawn again when its own signal changes, or the selection
// comes or goes; texts that go with the time are signals of their own.
function Row({ name, child, at }) {
  const here = useComputed(() => selected.value === name).value
  const i = instances.get(name)?.value
  const uptime = useComputed(() => { const v = instances.get(name)?.value; return v?.pid ? span((now.value - v.upAt) / 1000) : '–' })
  const last = useComputed(() => { const v = instances.get(name)?.value; return (v && lastExit(v, now.value)) || '–' })
  if (!i) return null
  return html`<div role="row" aria-rowindex=${at + 2} class=${'row' + (child ? ' child' : '') + (here ? ' selected' : '')} onClick=${e => !e.target.closest('button') && open(name)}>
    <span role="cell" class="name"><a href=${'#/' + encodeURIComponent(name)} onFocus=${() => { selected.value = name }}>${name}</a></span>
    <span role="cell" class="st"><${State} i=${i} /></span>
    <span role="cell" class="pid num">${i.pid || '–'}</span>
    <span role="cell" class=${'up num' + (i.pid ? '' : ' nil')}>${uptime}</span>
    <span role="cell" class=${'restarts num right' + (i.restarts ? '' : ' dim')}>${i.restarts}</span>
    <span role="cell" class=${'cpu num right' + (i.pid ? '' : ' nil')}><${Spark} name=${name} /><span class=${i.cpu_percent >= 0.05 ? '' : 'dim'}>${percent(i.cpu_percent)}</span></span>
    <span role="cell" class=${'mem num right' + (i.pid ? '' : ' nil')}>${size(i.memory_bytes)}</span>
    <span role="cell" class="last dim">${last}</span>
    <span role="cell" class="acts"><${Acts} name=${name} list=${[i]} /></span>
  </div>`
}

// Group is the head of a program with several instances.
function Group({ program, list, shut, at }) {
  const key = 'group ' + program
  const here = useComputed(() => selected.value === key).value
  const words = new Map()
  for (const i of list) {
    const [symbol, word, colour] = look(i)
    const w = words.get(word) ?? { symbol, colour, n: 0 }
    w.n++
    words.set(word, w)
  }
  const measured = k => list.some(i => i[k] != null) || null
  return html`<div role="row" aria-rowindex=${at + 2} class=${'row group' + (here ? ' selected' : '')} onClick=${e => !e.target.closest('button, a') && fold(program, !shut)}>
    <span role="cell" class="name"><button class="fold" aria-expanded=${!shut} aria-label=${(shut ? 'unfold ' : 'fold ') + program} onClick=${() => fold(program, !shut)}>${shut ? '▸' : '▾'}</button><a href=${'#/' + encodeURIComponent(program)} onFocus=${() => { selected.value = key }}>${program}</a> <span class="dim small">× ${list.length}</span></span>
    <span role="cell" class="st">${[...words].map(([word, w]) => html`<span class=${'state ' + w.colour}><span aria-hidden="true">${w.symbol}</span> ${w.n} ${word}</span> `)}</span>
    <span role="cell" class="pid"></span><span role="cell" class="up"></span>
    <span role="cell" class="restarts num right">${sum(list.map(i => i.restarts))}</span>
    <span role="cell" class="cpu num right"><span>${percent(measured('cpu_percent') && sum(list.map(i => i.cpu_percent ?? 0)))}</span></span>
    <span role="cell" class="mem num right">${size(measured('memory_bytes') && sum(list.map(i => i.memory_bytes ?? 0)))}</span>
    <span role="cell" class="last dim">${count(list.length, 'instance')}</span>
    <span role="cell" class="acts"><${Acts} name=${program} list=${list} /></span>
  </div>`
}

// Acts are the buttons of a program or an instance, for who may act.
export function Acts({ name, list, words }) {
  if (!access.value?.act) return null
  const runs = list.some(i => !['stopped', 'exited', 'done', 'failed'].includes(i.state))
  const button = (verb, symbol) => html`<button class=${'act ' + verb} aria-label=${`${verb} ${name}`} title=${`${verb} ${name}`} onClick=${() => confirmAct(verb, name)}><span aria-hidden="true">${symbol}</span>${words ? ' ' + verb : ''}</button>`
  return runs ? html`${button('restart', '↻')}${button('stop', '■')}` : button('start', '▶')
}
