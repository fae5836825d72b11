// The plan of a pending configuration, and the button that applies it.
import { html, signal, useEffect, useRef } from './lib.js'
import { ask, access, daemon, note, refresh } from './state.js'
import { count } from './words.js'

export const showing = signal(false)
const plan = signal(null) // api.Plan, or {error, diagnostics}
const busy = signal(false)

export async function showPlan() {
  showing.value = true
  plan.value = null
  try {
    plan.value = await ask('GET', '/v1/plan')
  } catch (e) {
    plan.value = { error: e.message, diagnostics: e.diagnostics }
  }
}

const marks = { start: ['+', 'good'], add: ['+', 'good'], stop: ['−', 'bad'], drain: ['−', 'bad'], remove: ['−', 'bad'], restart: ['~', 'warn'], live: ['~', 'move'] }

async function apply(p) {
  busy.value = true
  try {
    await ask('POST', '/v1/reload', { allow_empty: p.empties })
    showing.value = false
    refresh(0).catch(() => {}) // the next try says it
  } catch (e) {
    plan.value = { error: e.message, diagnostics: e.diagnostics }
  }
  busy.value = false
}

export function Plan() {
  const box = useRef(null)
  const on = showing.value
  useEffect(() => { if (on && !box.current.open) box.current.showModal(); if (!on) box.current.close() }, [on])
  const p = plan.value
  return html`<dialog class="plan" ref=${box} aria-labelledby="plan-title" onClose=${() => { showing.value = false }}>
    ${on && html`<h2 id="plan-title">${p?.error ? 'the configuration has errors; what runs is untouched' : 'what a reload would do'}</h2>
    ${!p && html`<p class="dim">asking the daemon …</p>`}
    ${p?.error && html`<p class="bad">${p.error}</p>`}
    ${(p?.diagnostics ?? []).map(d => html`<pre class=${d.severity === 'error' ? 'bad' : 'warn'}>${d.text || `${d.file}:${d.line}: ${d.message}${d.hint ? ` (${d.hint})` : ''}`}</pre>`)}
    ${p?.items && html`<p class="dim small">${p.files.join(', ')}</p>
      <div class="items">${p.items.map(Item)}</div>
      <p class="dim">${p.items.length ? '' : '✓ nothing to do. '}= ${count(p.unchanged, 'instance')} unchanged</p>
      ${p.empties && html`<p class="bad">this takes every program away</p>`}`}
    <div class="buttons">
      <button onClick=${() => { showing.value = false }}>close</button>
      ${p?.items?.length > 0 && access.value.act && html`<button class="primary" disabled=${busy.value} onClick=${() => apply(p)}>${busy.value ? 'applying …' : 'apply'}</button>`}
    </div>`}
  </dialog>`
}

function Item(item) {
  const [symbol, tone] = marks[item.action] ?? ['~', 'move']
  return html`<div class="item"><span class=${tone} aria-hidden="true">${symbol}</span><b>${item.program}</b><span class=${tone}>${item.action}</span>
    <div>${(item.changes ?? []).map(c => html`<div class="change"><span class="dim">${c.key}</span> <del>${c.old || '–'}</del> <span class="dim" aria-label="becomes">→</span> <ins>${c.new || '–'}</ins></div>`)}
    ${item.summary && html`<div class="dim">${item.summary}</div>`}</div></div>`
}

// Pending says that there is something to apply.
export function Pending() {
  if (!daemon.value?.pending) return null
  return html`<div class="banner warn" role="status"><span>the files of the configuration differ from what runs</span><button onClick=${showPlan}>see the plan</button></div>`
}
