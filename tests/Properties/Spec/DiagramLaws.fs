/// Networks as pictures.
module DiagramLaws

open System
open System.Globalization
open System.Xml.Linq
open Expecto
open TensorNets
open Generators
open NamedNetworks

let private read (spec: Spec) = XElement.Parse(SpecDiagram.svg spec)

let private marked kind (svg: XElement) =
    [
        for element in svg.Elements() do
            match element.Attribute(XName.Get "class") with
            | null -> ()
            | found when found.Value = kind -> element
            | _ -> ()
    ]

let private number (element: XElement) (name: string) =
    Double.Parse((nonNull (element.Attribute(XName.Get name))).Value, CultureInfo.InvariantCulture)

let private centres svg = marked "core" svg |> List.map (fun circle -> number circle "cx", number circle "cy")

/// Entries of an incidence: what lines there have to be.
let private lineCount (spec: Spec) =
    spec.Dims
    |> Map.toList
    |> List.sumBy (fun (axis, _) ->
        match (Spec.carriers axis spec).Length, Spec.isOpen axis spec with
        | 2, false
        | 1, true -> 1
        | carriers, isOpen -> carriers + (if isOpen then 1 else 0))

let all =
    testList
        "diagrams"
        [
            lawOver namedNetworks "every core is a circle with its name, every axis a line with its name and dimension" (fun case ->
                let svg = read case.Spec
                Expect.equal (marked "core" svg).Length case.Spec.Cores.Length "circles"
                Expect.equal (marked "name" svg |> List.map _.Value) (case.Spec.Cores |> List.map _.Name) "names"
                Expect.equal (marked "bond" svg).Length (lineCount case.Spec) "lines"
                let labels = [ for axis, dim in Map.toList case.Spec.Dims -> $"{axis.Name} {dim}" ]
                Expect.equal (marked "axis" svg |> List.map _.Value |> List.sort) (List.sort labels) "labels")
            lawOver
                namedNetworks
                "all stands within the picture, and the same network gives the same text, whatever the language"
                (fun case ->
                    let svg = read case.Spec

                    let box =
                        (nonNull (svg.Attribute(XName.Get "viewBox"))).Value.Split ' '
                        |> Array.map (fun text -> Double.Parse(text, CultureInfo.InvariantCulture))

                    for x, y in centres svg do
                        Expect.isTrue (x > box[0] && x < box[0] + box[2] && y > box[1] && y < box[1] + box[3]) $"({x}, {y})"

                    let text = SpecDiagram.svg case.Spec
                    let before = CultureInfo.CurrentCulture

                    try
                        CultureInfo.CurrentCulture <- CultureInfo.GetCultureInfo "de-DE"
                        Expect.equal (1.5.ToString "F1") "1,5" "the language is one of decimal commas"
                        Expect.equal (SpecDiagram.svg case.Spec) text "text"
                    finally
                        CultureInfo.CurrentCulture <- before)
            law "circles of a format do not touch" (fun (case: FormatCase) ->
                let all = centres (read case.Spec) |> List.indexed

                for i, (x, y) in all do
                    for j, (u, v) in all do
                        if i < j then
                            Expect.isGreaterThan (sqrt ((x - u) ** 2.0 + (y - v) ** 2.0)) 34.0 $"cores {i} and {j} of {case.Spec}")
            testCase "a network of ten thousand cores is drawn" (fun () ->
                let axis i = Axis $"a{i}"
                let cores = [ for i in 1..10_000 -> { Name = $"C{i}"; Axes = [ axis (i - 1); axis i ] } ]
                let dims = [ for i in 0..10_000 -> axis i, 2 ]
                let spec = Spec.create dims cores [ axis 0; axis 10_000 ] |> specOk
                Expect.equal (marked "core" (read spec)).Length 10_000 "circles")
        ]
