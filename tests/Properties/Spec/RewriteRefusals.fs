/// What the rewrites refuse, and that they say why.
module RewriteRefusals

open Expecto
open TorchSharp
open TensorNets
open Generators

let private spec text = Spec.parse [] text |> specOk
let private axes (names: string) = [ for letter in names -> Axis(string letter) ]

let private chain = spec "sa, adb, bt -> sdt | s=2 d=3 t=4 a=2 b=3"
let private pair = spec "abc, cba, x -> abx | a=2 b=3 c=2 x=70000"
let private huge = spec "xy, yx -> xy | x=70000 y=70000"

let private known = [ "a"; "b"; "d"; "s"; "t" ]

let private refusals: (string * Result<Spec, SpecError list> * SpecError list) list =
    [
        "fusing nothing", SpecRewrite.fuse [] (Axis "w") chain, [ SpecError.NothingToFuse "w" ]
        "fusing axes that occur apart",
        SpecRewrite.fuse (axes "ab") (Axis "w") chain,
        [ SpecError.AxesApart("A", [ "a" ], [ "a"; "b" ]); SpecError.AxesApart("C", [ "b" ], [ "a"; "b" ]) ]
        "fusing an unknown axis twice into a name that is taken",
        SpecRewrite.fuse (axes "qq") (Axis "s") chain,
        [ SpecError.UnknownAxis("q", known); SpecError.ListedTwice "q"; SpecError.NameTaken "s" ]
        "fusing open axes in another order than the output's",
        SpecRewrite.fuse (axes "ba") (Axis "w") pair,
        [ SpecError.NotAdjacent([ "a"; "b"; "x" ], [ "b"; "a" ]) ]
        "fusing an open axis with a bond",
        SpecRewrite.fuse (axes "bc") (Axis "w") pair,
        [ SpecError.NotAdjacent([ "a"; "b"; "x" ], [ "b"; "c" ]) ]
        "fusing beyond the largest dimension",
        SpecRewrite.fuse (axes "xy") (Axis "w") huge,
        [ SpecError.DimensionTooLarge("w", 4900000000I) ]
        "fusing into what is not a name", SpecRewrite.fuse (axes "xy") (Axis "w'") (spec "xy -> | x=2 y=2"), [ SpecError.BadName "w'" ]
        "splitting an unknown axis", SpecRewrite.split (Axis "q") [ Axis "p", 2 ] chain, [ SpecError.UnknownAxis("q", known) ]
        "splitting into another product",
        SpecRewrite.split (Axis "t") [ Axis "p", 2; Axis "q", 3 ] chain,
        [ SpecError.WrongProduct("t", [ 2; 3 ], 4) ]
        "splitting into taken, repeated and negative parts",
        SpecRewrite.split (Axis "t") [ Axis "s", -2; Axis "p", -2; Axis "p", 1 ] chain,
        [
            SpecError.ListedTwice "p"
            SpecError.NameTaken "s"
            SpecError.NonPositiveDimension("s", -2)
            SpecError.NonPositiveDimension("p", -2)
        ]
        "permuting into another output",
        SpecRewrite.permute (axes "sdd") chain,
        [ SpecError.NotAPermutation([ "s"; "d"; "d" ], [ "s"; "d"; "t" ]) ]
        "merging a core with itself", SpecRewrite.merge "A" "A" "M" chain, [ SpecError.SameCore "A" ]
        "merging unknown cores into a name that is taken",
        SpecRewrite.merge "X" "Y" "B" chain,
        [
            SpecError.UnknownCore("X", [ "A"; "B"; "C" ])
            SpecError.UnknownCore("Y", [ "A"; "B"; "C" ])
            SpecError.NameTaken "B"
        ]
        "merging into a core of more entries than can be counted",
        SpecRewrite.merge "A" "B" "M" (spec "ax, by -> abxy | a=2147483647 b=2147483647 x=2147483647 y=2"),
        [ SpecError.CoresTooLarge(2I * pown 2147483647I 3) ]
        "a gauge on an open axis",
        SpecRewrite.insertGauge { Bond = Axis "s"; Core = "A"; Fresh = Axis "t" } chain,
        [ SpecError.NotOrdinaryBond("s", "open"); SpecError.NameTaken "A"; SpecError.NameTaken "t" ]
        "a gauge on a hyperedge",
        SpecRewrite.insertGauge { Bond = Axis "r"; Core = "M"; Fresh = Axis "z" } (spec "ar, br, cr -> abc | a=2 b=2 c=2 r=2"),
        [ SpecError.NotOrdinaryBond("r", "carried by 3 cores") ]
        "inner over other open axes",
        SpecRewrite.inner chain (spec "sd -> ds | s=2 d=4") |> Result.map fst,
        [ SpecError.OpenAxesDiffer([ "d"; "s" ], [ "s"; "d"; "t" ]); SpecError.DimensionsDiffer("d", 4, 3) ]
    ]

let private chainNetwork () = randomNetwork 1 chain
let private bondA = { Bond = Axis "a"; Core = "M"; Fresh = Axis "z" }

let private onTensors (matrix: torch.Tensor) (expected: TensorNetError list) () =
    use _ = torch.NewDisposeScope()

    match NetworkRewrite.insertGauge bondA matrix (chainNetwork ()) with
    | Ok _ -> failtest "accepted"
    | Error errors -> Expect.equal errors expected "errors"

let all =
    testList
        "rewrites refuse"
        [
            for name, result, expected in refusals do
                testCase name (fun () ->
                    Expect.equal result (Error expected) "errors"

                    for error in expected do
                        Expect.isNonEmpty error.Message "message")
            testCase "a gauge of another shape" (fun () ->
                onTensors (torch.ones ([| 3L; 2L |], dtype = torch.float64)) [ TensorNetError.CoreShape("M", [ 3L; 2L ], [ 2L; 2L ]) ] ())
            testCase "a gauge without an inverse" (fun () ->
                onTensors (torch.ones ([| 2L; 2L |], dtype = torch.float64)) [ TensorNetError.SingularMatrix("Core 'M'", 1, 2) ] ())
            testCase "a gauge of another dtype" (fun () ->
                onTensors (torch.eye (2L, dtype = torch.float32)) [ TensorNetError.CoreDType("M", "Float32", "Float64") ] ())
            testCase "a gauge that is not finite" (fun () ->
                onTensors
                    ((torch.zeros ([| 2L; 2L |], dtype = torch.float64)).log().mul(Num.tensor 0.0))
                    [ TensorNetError.NotFinite("Core 'M'", 4L) ]
                    ())
            testCase "inner of two dtypes" (fun () ->
                use _ = torch.NewDisposeScope()
                let network = chainNetwork ()

                match NetworkRewrite.inner network (Network.copyAs torch.float32 network) with
                | Ok _ -> failtest "accepted"
                | Error errors ->
                    Expect.equal errors [ for core in [ "A"; "B"; "C" ] -> TensorNetError.CoreDType(core, "Float32", "Float64") ] "errors")
            testCase "a rewrite of numbers passes on what is wrong with that of the spec" (fun () ->
                use _ = torch.NewDisposeScope()

                match NetworkRewrite.permute (axes "sd") (chainNetwork ()) with
                | Ok _ -> failtest "accepted"
                | Error errors ->
                    Expect.equal errors [ TensorNetError.Spec(SpecError.NotAPermutation([ "s"; "d" ], [ "s"; "d"; "t" ])) ] "errors")
        ]
