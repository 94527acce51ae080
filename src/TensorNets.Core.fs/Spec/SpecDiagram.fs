namespace TensorNets

open System
open System.Collections.Generic
open System.Globalization
open System.Xml.Linq

/// What a diagram draws: points, and lines between them.
type internal DiagramPoint =
    /// A core.
    | CorePoint of Core
    /// Where an axis that is no ordinary bond and no plain leg joins its cores: a hyperedge, an axis summed alone.
    | Joint of Axis
    /// The free end of an open axis.
    | LegEnd of Axis

/// <summary>A network as a picture.</summary>
[<RequireQualifiedAccess>]
module SpecDiagram =
    /// Pixels for a distance of one, and radius of a core.
    let private unit, private radius = 62.0, 17.0

    /// Points beyond this many stand in a circle: the search of their places takes the square of their number in each round.
    let private most = 100

    let private rounds, private starts = 200, 5

    /// Points, and lines between places of points, each with its axis.
    let private graph (spec: Spec) : DiagramPoint[] * (int * int * Axis)[] =
        let points, lines = ResizeArray(List.map CorePoint spec.Cores), ResizeArray()
        let isOpen = HashSet spec.Output

        let carriers =
            spec.Cores
            |> List.indexed
            |> List.collect (fun (i, core) -> [ for axis in core.Axes -> axis, i ])
            |> List.groupBy fst

        for axis, places in carriers do
            let next = points.Count

            match List.map snd places, isOpen.Contains axis with
            | [ a; b ], false -> lines.Add(a, b, axis)
            | [ a ], true ->
                points.Add(LegEnd axis)
                lines.Add(a, next, axis)
            | places, isOpen ->
                points.Add(Joint axis)

                if isOpen then
                    points.Add(LegEnd axis)
                    lines.Add(next, next + 1, axis)

                for a in places do
                    lines.Add(a, next, axis)

        points.ToArray(), lines.ToArray()

    let private length (points: DiagramPoint[]) (a: int) (b: int) =
        match points[a], points[b] with
        | CorePoint _, CorePoint _ -> 1.6
        | Joint _, LegEnd _ -> 0.8
        | _ -> 1.0

    /// The lengths of the shortest paths, by Floyd and Warshall; what no path joins stands a little apart.
    let private distances (points: DiagramPoint[]) (lines: (int * int * Axis)[]) : float[,] =
        let n = points.Length
        let d = Array2D.init n n (fun a b -> if a = b then 0.0 else infinity)

        for a, b, _ in lines do
            d[a, b] <- length points a b
            d[b, a] <- d[a, b]

        for k in 0 .. n - 1 do
            for a in 0 .. n - 1 do
                for b in 0 .. n - 1 do
                    d[a, b] <- min d[a, b] (d[a, k] + d[k, b])

        let longest = d |> Seq.cast<float> |> Seq.filter Double.IsFinite |> Seq.max
        d |> Array2D.map (fun x -> if Double.IsFinite x then x else longest + 1.5)

    /// Σ (|x_a − x_b| − d_ab)² / d_ab².
    let private stress (d: float[,]) (at: (float * float)[]) : float =
        Seq.sum
            [
                for a in 1 .. at.Length - 1 do
                    for b in 0 .. a - 1 do
                        let dx, dy = fst at[a] - fst at[b], snd at[a] - snd at[b]
                        (sqrt (dx * dx + dy * dy) / d[a, b] - 1.0) ** 2.0
            ]

    /// Places of less stress, in place: each point in turn goes where the others want it.
    let private relax (d: float[,]) (at: (float * float)[]) : unit =
        for a in 0 .. at.Length - 1 do
            let mutable x, y, sum = 0.0, 0.0, 0.0

            for b in 0 .. at.Length - 1 do
                if b <> a then
                    let weight = 1.0 / (d[a, b] * d[a, b])
                    let dx, dy = fst at[a] - fst at[b], snd at[a] - snd at[b]
                    let far = max 1e-9 (sqrt (dx * dx + dy * dy))
                    x <- x + weight * (fst at[b] + d[a, b] * dx / far)
                    y <- y + weight * (snd at[b] + d[a, b] * dy / far)
                    sum <- sum + weight

            at[a] <- x / sum, y / sum

    /// Places whose distances are near those of the paths, the best of a circle and others drawn from fixed seeds. Source: Gansner, Koren
    /// and North, "Graph drawing by stress majorization", 2004.
    let private placed (points: DiagramPoint[]) (lines: (int * int * Axis)[]) : (float * float)[] =
        let n = points.Length
        let size = max 1.0 (float n / 4.0)
        let angle i = 2.0 * Math.PI * float i / float n
        let circle = Array.init n (fun i -> size * cos (angle i), size * sin (angle i))

        if n = 1 || n > most then
            circle
        else
            let d = distances points lines

            let drawn seed =
                let random = Random seed
                Array.init n (fun _ -> size * random.NextDouble(), size * random.NextDouble())

            [ circle; yield! List.map drawn [ 1..starts ] ]
            |> List.map (fun at ->
                for _ in 1..rounds do
                    relax d at

                at)
            |> List.minBy (stress d)

    /// The longer extent of the cores lies across the page, the first core at the left.
    let private turned (cores: int) (at: (float * float)[]) : (float * float)[] =
        let own = if cores > 1 then Array.take cores at else at
        let mean f = own |> Array.averageBy f
        let mx, my = mean fst, mean snd
        let xx, yy = mean (fun (x, _) -> (x - mx) ** 2.0), mean (fun (_, y) -> (y - my) ** 2.0)
        let xy = mean (fun (x, y) -> (x - mx) * (y - my))
        let angle = 0.5 * Math.Atan2(2.0 * xy, xx - yy)
        let c, s = cos angle, sin angle
        let level = at |> Array.map (fun (x, y) -> c * (x - mx) + s * (y - my), c * (y - my) - s * (x - mx))
        let sign = if fst level[0] > 1e-9 then -1.0 else 1.0
        level |> Array.map (fun (x, y) -> sign * x, sign * y)

    let private digits (x: float) = x.ToString("F1", CultureInfo.InvariantCulture)

    let private element (name: string) (attributes: (string * string) list) (content: obj list) : XElement =
        XElement(
            XNamespace.Get "http://www.w3.org/2000/svg" + name,
            [
                for key, value in attributes -> XAttribute(XName.Get key, value) :> obj
                yield! content
            ]
        )

    let private label (x: float) (y: float) (kind: string) (color: string) (words: string) =
        let attributes: (string * string) list =
            [
                "x", digits x
                "y", digits (y + 4.0)
                "text-anchor", "middle"
                "font-size", "12"
                "class", kind
                "fill", color
            ]

        element "text" attributes [ words ]

    /// A line between two points and its label; the i-th of several between the same points is bent to its side.
    let private line (words: string option) (bend: float) (ax: float, ay: float) (bx: float, by: float) =
        let dx, dy = bx - ax, by - ay
        let far = max 1e-9 (sqrt (dx * dx + dy * dy))
        let mx, my = (ax + bx) / 2.0 - bend * dy / far, (ay + by) / 2.0 + bend * dx / far
        // The middle of a quadratic curve is halfway to its control point.
        let lx, ly = (ax + bx) / 4.0 + mx / 2.0, (ay + by) / 4.0 + my / 2.0
        let side = if bend < 0.0 then -1.0 else 1.0

        [
            element
                "path"
                [
                    "d", $"M{digits ax} {digits ay}Q{digits mx} {digits my} {digits bx} {digits by}"
                    "class", "bond"
                    "fill", "none"
                    "stroke", "currentColor"
                    "stroke-width", "1.5"
                ]
                []
            match words with
            | Some words -> label (lx - side * 14.0 * dy / far) (ly + side * 11.0 * dx / far) "axis" "currentColor" words
            | None -> ()
        ]

    /// How far each line is bent: lines between the same two points go side by side.
    let private bends (lines: (int * int * Axis)[]) : float[] =
        let all = lines |> Array.countBy (fun (a, b, _) -> a, b) |> dict
        let seen = Dictionary()

        [|
            for a, b, _ in lines do
                let before = seen.GetValueOrDefault((a, b), 0)
                seen[(a, b)] <- before + 1
                34.0 * (float before - float (all[(a, b)] - 1) / 2.0)
        |]

    let private mark (x: float, y: float) (point: DiagramPoint) : XElement list =
        let circle (r: float) kind fill = element "circle" [ "cx", digits x; "cy", digits y; "r", digits r; "class", kind; "fill", fill ] []

        match point with
        | CorePoint core -> [ circle radius "core" "#2563eb"; label x y "name" "#ffffff" core.Name ]
        | Joint _ -> [ circle 3.5 "joint" "currentColor" ]
        | LegEnd _ -> []

    /// <summary>The network as a picture, an SVG element: a circle for each core, a line for each axis with its name and
    /// dimension.</summary>
    /// <remarks>A bond joins two circles, an open axis ends free, and an axis of three cores or more (the rank of CP), or one that is
    /// summed alone, has a dot. Distances in the picture are near those along its lines. Lines take the color of the text around it, so
    /// that it stands on light pages and on dark ones. The same network gives the same text.</remarks>
    /// <example><code>SpecDiagram.svg spec</code></example>
    let svg (spec: Spec) : string =
        Argument.notNull (nameof spec) spec
        let points, lines = graph spec
        let at = placed points lines |> turned spec.Cores.Length |> Array.map (fun (x, y) -> unit * x, unit * y)
        let margin = radius + 22.0
        let low f = (at |> Array.map f |> Array.min) - margin
        let high f = (at |> Array.map f |> Array.max) + margin
        let left, top = low fst, low snd
        let width, height = high fst - left, high snd - top
        // An axis with a joint has several lines and one label.
        let labelled = HashSet()
        let bends = bends lines

        let content =
            [
                for i, (a, b, axis) in Array.indexed lines do
                    let words = if labelled.Add axis then Some $"{axis.Name} {spec.Dims[axis]}" else None
                    yield! line words bends[i] at[a] at[b]
                for i in 0 .. points.Length - 1 do
                    yield! mark at[i] points[i]
            ]

        let attributes: (string * string) list =
            [
                "viewBox", $"{digits left} {digits top} {digits width} {digits height}"
                "width", digits width
                "height", digits height
                "role", "img"
                "aria-label", string spec
                "font-family", "sans-serif"
            ]

        (element "svg" attributes [ for part in content -> part :> obj ]).ToString SaveOptions.DisableFormatting
