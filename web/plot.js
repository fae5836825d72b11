// Plots of processor time and memory, from the samples that the page has taken.
import { html, useEffect, useRef, effect } from './lib.js'
import { history, sampled } from './state.js'
import { percent, size } from './words.js'

const most = 6 // lines in a plot; more instances are added up
const span = 120 // seconds that are shown at least

// Spark is a small line of an instance's processor time.
export function Spark({ name }) {
  sampled.value // drawn again with each sample
  const cpu = (history.get(name)?.cpu ?? []).slice(-30)
  if (cpu.length < 2) return html`<svg class="spark" viewBox="0 0 60 16" aria-hidden="true" />`
  const top = Math.max(5, ...cpu)
  const points = cpu.map((v, n) => `${(60 - (cpu.length - 1 - n) * (60 / 29)).toFixed(1)},${(15 - ((v ?? 0) / top) * 13).toFixed(1)}`)
  const [x0] = points[0].split(',')
  return html`<svg class="spark" viewBox="0 0 60 16" preserveAspectRatio="none" aria-hidden="true">
    <polygon points=${`${x0},16 ${points.join(' ')} 60,16`} /><polyline points=${points.join(' ')} /></svg>`
}

// lines returns what uPlot draws: times, and the values of each instance or of all.
function lines(names, key) {
  const hs = names.map(n => history.get(n)).filter(Boolean)
  const times = [...new Set(hs.flatMap(h => h.t))].sort((a, b) => a - b)
  const at = hs.map(h => new Map(h.t.map((t, n) => [t, h[key][n]])))
  if (hs.length <= most) return [times, ...at.map(m => times.map(t => m.get(t) ?? null))]
  return [times, times.map(t => at.reduce((sum, m) => sum + (m.get(t) ?? 0), 0))]
}

// Plot draws one of the two figures of instances; key is cpu or mem.
export function Plot({ title, names, field, now }) {
  const box = useRef(null)
  useEffect(() => {
    const el = box.current
    let plot = null
    let gone = false
    let stop = () => {}
    const words = field === 'cpu' ? percent : size
    // It is loaded when the first is drawn.
    import('./vendor/uplot.js').then(({ default: uPlot }) => {
      if (gone) return
      const ink = name => { el.dataset.ink = name; return getComputedStyle(el).color }
      const series = names.length <= most ? names : ['all ' + names.length]
      const make = () => {
        plot?.destroy()
        const dim = ink('dim')
        const axis = { stroke: dim, grid: { stroke: ink('line'), width: 1 }, ticks: { show: false }, font: '11px ui-monospace, monospace' }
        plot = new uPlot({
          width: el.clientWidth, height: 130, padding: [10, 8, 0, 0], legend: { show: false },
          cursor: { y: false, points: { size: 6 } },
          scales: { x: { range: (_, low, high) => [Math.min(low, high - span), high] }, y: { range: (_, low, high) => [0, Math.max(field === 'cpu' ? 5 : 1e6, (high ?? 0) * 1.15)] } },
          axes: [{ ...axis, size: 26, space: 70, values: (_, v) => v.map(t => new Date(t * 1000).toTimeString().slice(0, 8)) },
            { ...axis, size: 62, space: 32, values: (_, v) => v.map(words) }],
          series: [{}, ...series.map((label, n) => ({ label, stroke: ink('p' + n), fill: n ? undefined : ink('fill'), width: 1.75, points: { show: false } }))],
        }, lines(names, field), el)
      }
      make()
      const resize = new ResizeObserver(() => plot.setSize({ width: el.clientWidth, height: 130 }))
      resize.observe(el)
      const theme = new MutationObserver(make) // colours are in the picture
      theme.observe(document.documentElement, { attributeFilter: ['data-theme'] })
      const scheme = matchMedia('(prefers-color-scheme: dark)')
      scheme.addEventListener('change', make)
      const unwatch = effect(() => { sampled.value; plot.setData(lines(names, field)) })
      stop = () => { unwatch(); resize.disconnect(); theme.disconnect(); scheme.removeEventListener('change', make); plot.destroy() }
    })
    return () => { gone = true; stop() }
  }, [names.join('\n'), field])
  return html`<figure class="card plot" aria-label=${`${title}: ${now}`}>
    <figcaption><h2>${title}</h2><strong>${now}</strong></figcaption>
    <div class="canvas" ref=${box} aria-hidden="true"></div>
  </figure>`
}
