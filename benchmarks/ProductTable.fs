/// The steps of plans as the library runs them, products of stacks of matrices, against one `einsum` for each step.
[<RequireQualifiedAccess>]
module TensorNets.Benchmarks.ProductTable

open System
open System.Collections.Generic
open TensorNets
open TorchSharp

type private Case = { Name: string; Spec: Spec; Repeats: int }

let private case name repeats dims (cores: string list) (output: string) =
    let axes (text: string) = text |> Seq.map (string >> Axis) |> Seq.toList

    let spec =
        Spec.create
            (dims |> List.map (fun (axis: char, n) -> Axis(string axis), n))
            (cores |> List.mapi (fun i core -> { Name = Spec.positionName i; Axes = axes core }))
            (axes output)

    match spec with
    | Ok spec -> { Name = name; Spec = spec; Repeats = repeats }
    | Error errors -> invalidOp $"%A{errors}"

let private cases =
    let cp = [ 's', 256; 'd', 9; 't', 256; 'r', 200 ]
    let tucker = [ 'p', 64; 'q', 64; 'd', 9 ]

    [
        case "MTTKRP: sdt,tr,dr->sr" 1 cp [ "sdt"; "tr"; "dr" ] "sr"
        case "CP kernel: sr,dr,tr->sdt" 1 cp [ "sr"; "dr"; "tr" ] "sdt"
        case "Tucker-2 layers: pdq,Pdq->pP" 20 (('P', 64) :: tucker) [ "pdq"; "Pdq" ] "pP"
        case "Tucker-2 layers: pdq,pdQ->qQ" 20 (('Q', 64) :: tucker) [ "pdq"; "pdQ" ] "qQ"
        case "Tucker-2: pdq,pP,PdQ,qQ->" 20 ([ 'P', 64; 'Q', 64 ] @ tucker) [ "pdq"; "pP"; "PdQ"; "qQ" ] ""
        case "Grams of CP: rq,rq->" 100 [ 'r', 200; 'q', 200 ] [ "rq"; "rq" ] ""
        case "small: ab,bc,cd->ad, 8 each" 200 [ 'a', 8; 'b', 8; 'c', 8; 'd', 8 ] [ "ab"; "bc"; "cd" ] "ad"
        case "small: aib,bjc,ckd->aijkd, 4 each" 200 [ for axis in "abcdijk" -> axis, 4 ] [ "aib"; "bjc"; "ckd" ] "aijkd"
    ]

/// Each step as an equation, with letters of its own.
let private equations (plan: Plan) =
    let slots = List<Axis list>(plan.Spec.Cores |> List.map _.Axes)
    let letters = Dictionary<Axis, char>()

    let text axes =
        axes
        |> List.map (fun axis ->
            if not (letters.ContainsKey axis) then
                letters[axis] <- char (int 'a' + letters.Count)

            letters[axis])
        |> List.toArray
        |> String

    let steps =
        [
            for step in plan.Steps do
                let operands = step.Operands |> List.map (fun slot -> text slots[slot])
                slots.Add step.Axes
                step.Operands, String.Join(",", operands) + "->" + text step.Axes
        ]

    steps, text slots[slots.Count - 1] + "->" + text plan.Spec.Output

let private row (dtype: torch.ScalarType) (case: Case) =
    use _ = torch.NewDisposeScope()
    let plan = Plan.make Order.Auto case.Spec
    use network = Network.random dtype 1UL case.Spec
    let cores = case.Spec.Cores |> List.map (fun core -> core.Name, network[core.Name]) |> Map.ofList
    let steps, final = equations plan

    let einsum () =
        let slots = List<torch.Tensor>(network.Cores)

        for operands, equation in steps do
            slots.Add(torch.einsum (equation, [| for slot in operands -> slots[slot] |]))

        torch.einsum (final, slots[slots.Count - 1])

    let alone (make: unit -> torch.Tensor) () =
        use _ = torch.no_grad ()

        for _ in 1 .. case.Repeats do
            use _ = torch.NewDisposeScope()
            make () |> ignore

    let withGradient (make: unit -> torch.Tensor) () =
        for _ in 1 .. case.Repeats do
            use _ = torch.NewDisposeScope()
            let result = make ()
            result.backward [| torch.ones_like result |]

    for core in network.Cores do
        core.requires_grad_ true |> ignore

    let own () = Contraction.run plan cores

    let times =
        Measure.medians 21 [ alone einsum; alone own; withGradient einsum; withGradient own ]
        |> List.map (fun t -> 1e3 * t / float case.Repeats)

    times,
    [
        case.Name
        (if dtype = torch.float32 then "single" else "double")
        yield! times |> List.map (fun t -> $"{t:F1}")
        $"{times[1] / times[0]:F2}"
        $"{times[3] / times[2]:F2}"
    ]

/// Prints the table.
let run () =
    torch.set_num_threads 1

    let rows =
        [
            for dtype in [ torch.float32; torch.float64 ] do
                for case in cases -> row dtype case
        ]

    let sum = rows |> List.map fst |> List.transpose |> List.map List.sum

    Measure.table
        [
            "contraction, µs"
            "dtype"
            "einsum"
            "own"
            "einsum + grad"
            "own + grad"
            "ratio"
            "ratio + grad"
        ]
        ((rows |> List.map snd)
         @ [
             [
                 "sum"
                 ""
                 yield! sum |> List.map (fun t -> $"{t:F0}")
                 $"{sum[1] / sum[0]:F2}"
                 $"{sum[3] / sum[2]:F2}"
             ]
         ])
