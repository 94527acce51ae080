/// Charts as SVG text, for the pages: no picture lies in the repository that a page can draw.
module TensorNets.Documents.Chart

open System

/// What an axis shows, and whether by its logarithm.
type Scale = { Label: string; Logarithmic: bool }

/// Points of one colour: a line through them, or marks alone.
type Series = { Name: string; Joined: bool; Points: (float * float) list }

let linear label = { Label = label; Logarithmic = false }
let logarithmic label = { Label = label; Logarithmic = true }
let line name points = { Name = name; Joined = true; Points = points }
let dots name points = { Name = name; Joined = false; Points = points }

let private colours = [| "#1f77b4"; "#d95f02"; "#2a9d5c"; "#b0489a"; "#8a6d00" |]
let private left, right, top, bottom = 70.0, 580.0, 30.0, 260.0

/// Numbers between the ends of a range at which an axis has ticks: powers of ten, or about five round numbers.
let private ticks (scale: Scale) (low: float, high: float) : float list =
    if scale.Logarithmic then
        let step = max 1 ((int high - int low) / 6)
        [ for power in int low .. step .. int high -> Math.Pow(10.0, float power) ]
    else
        let rough = (high - low) / 5.0
        let unit = Math.Pow(10.0, floor (log10 rough))

        let step =
            unit
            * (if rough / unit < 1.5 then 1.0
               elif rough / unit < 3.5 then 2.0
               elif rough / unit < 7.5 then 5.0
               else 10.0)

        [ for i in int (ceil (low / step - 1e-9)) .. int (floor (high / step + 1e-9)) -> step * float i ]

let private value (scale: Scale) (x: float) = if scale.Logarithmic then log10 x else x

/// The ends of an axis: whole powers of ten, or the least and the greatest value with a little room.
let private range (scale: Scale) (values: float list) =
    let values = values |> List.map (value scale)
    let low, high = List.min values, List.max values

    if scale.Logarithmic then
        floor (low + 1e-9), max (ceil (high - 1e-9)) (floor (low + 1e-9) + 1.0)
    else
        let room = 0.04 * max (high - low) 1e-12
        (if low >= 0.0 && low < 0.3 * high then 0.0 else low - room), high + room

let private number (x: float) =
    if x <> 0.0 && (abs x >= 1e5 || abs x < 1e-3) then
        $"10<tspan dy='-5' font-size='9'>{log10 (abs x):F0}</tspan>"
    else
        $"{Math.Round(x, 6)}"

let private text (x: float) (y: float) anchor (words: string) =
    $"<text x='{x:F1}' y='{y:F1}' font-size='12' text-anchor='{anchor}' fill='currentColor'>{words}</text>"

/// The chart of series over two axes; names of series stand beside it where there are several.
let plot (title: string) (horizontal: Scale) (vertical: Scale) (series: Series list) : string =
    let all = series |> List.collect _.Points
    let xs, ys = range horizontal (List.map fst all), range vertical (List.map snd all)
    let place scale (low, high) (near, far) x = near + (value scale x - low) / (high - low) * (far - near)
    let x = place horizontal xs (left, right)
    let y = place vertical ys (bottom, top)
    let colour i = colours[i % colours.Length]
    let height = if series.Length > 1 then 330 else 305

    [
        $"<svg viewBox='0 0 600 {height}' width='600' role='img' aria-label='{title}'>"
        $"<path d='M{left},{top} V{bottom} H{right}' fill='none' stroke='currentColor'/>"
        for tick in ticks horizontal xs do
            $"<path d='M{x tick:F1},{bottom} v4' stroke='currentColor'/>"
            text (x tick) (bottom + 18.0) "middle" (number tick)
        for tick in ticks vertical ys do
            $"<path d='M{left},{y tick:F1} h-4' stroke='currentColor'/>"
            text (left - 8.0) (y tick + 4.0) "end" (number tick)
        for i, one in List.indexed series do
            if one.Joined then
                let path = one.Points |> List.map (fun (a, b) -> $"{x a:F1},{y b:F1}") |> String.concat " "
                $"<polyline points='{path}' fill='none' stroke='{colour i}' stroke-width='2'/>"

            if not one.Joined || one.Points.Length < 30 then
                for a, b in one.Points do
                    $"<circle cx='{x a:F1}' cy='{y b:F1}' r='3.5' fill='{colour i}'/>"

            if series.Length > 1 then
                let from = left + 220.0 * float i
                $"<circle cx='{from:F1}' cy='316' r='4' fill='{colour i}'/>"
                text (from + 10.0) 320.0 "start" one.Name
        text ((left + right) / 2.0) 297.0 "middle" horizontal.Label
        text left 18.0 "start" vertical.Label
        "</svg>"
    ]
    |> String.concat ""

/// Horizontal bars from zero, each with its name and number; a dashed line stands at a value that means something, such as one.
let bars (title: string) (label: string) (mark: float) (values: (string * float) list) : string =
    let edge, most = 300.0, values |> List.map snd |> List.max |> max mark
    let length value = value / most * (540.0 - edge)
    let bottom = 8.0 + 22.0 * float values.Length

    [
        $"<svg viewBox='0 0 600 {bottom + 40.0:F0}' width='600' role='img' aria-label='{title}'>"
        for i, (name, value) in List.indexed values do
            let y = 8.0 + 22.0 * float i
            text (edge - 8.0) (y + 13.0) "end" name
            $"<rect x='{edge}' y='{y:F0}' width='{length value:F1}' height='16' fill='{colours[0]}'/>"
            text (edge + length value + 6.0) (y + 13.0) "start" $"{Math.Round(value, 2)}"
        $"<path d='M{edge + length mark:F1},4 V{bottom:F0}' stroke='currentColor' stroke-dasharray='4 3'/>"
        text (edge + length mark) (bottom + 14.0) "middle" $"{mark}"
        text edge (bottom + 32.0) "start" label
        "</svg>"
    ]
    |> String.concat ""
