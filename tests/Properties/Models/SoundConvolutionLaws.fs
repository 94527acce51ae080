/// A model's own convolutions where libtorch's are wrong.
module SoundConvolutionLaws

open System
open Expecto
open TorchSharp
open TensorNets
open Generators

type private Layer = torch.nn.Module<torch.Tensor, torch.Tensor>

let private fault = [ TensorNetError.WrongConvolutions 0.19 ]

/// Dense layers by whether libtorch takes them in blocks of channels that they do not fill; an input.
let private layers: (string * bool * (unit -> Layer) * int64 list) list =
    [
        "channels in fill no block", true, (fun () -> torch.nn.Conv2d(20L, 16L, 3L)), [ 2L; 20L; 7L; 8L ]
        "channels out fill no block", true, (fun () -> torch.nn.Conv2d(16L, 24L, 3L)), [ 2L; 16L; 7L; 8L ]
        "three dimensions", true, (fun () -> torch.nn.Conv3d(5L, 20L, 2L)), [ 2L; 5L; 4L; 5L; 6L ]
        "transposed", true, (fun () -> torch.nn.ConvTranspose2d(20L, 24L, 3L)), [ 2L; 20L; 7L; 8L ]
        "channels fill their blocks", false, (fun () -> torch.nn.Conv2d(16L, 32L, 3L)), [ 2L; 16L; 7L; 8L ]
        "one position", false, (fun () -> torch.nn.Conv2d(20L, 24L, 1L)), [ 2L; 20L; 7L; 8L ]
        "groups", false, (fun () -> torch.nn.Conv2d(20L, 24L, 3L, groups = 2L)), [ 2L; 20L; 7L; 8L ]
        "float64", false, (fun () -> torch.nn.Conv2d(20L, 24L, 3L, dtype = torch.float64)), [ 2L; 20L; 7L; 8L ]
        "linear", false, (fun () -> torch.nn.Linear(20L, 24L)), [ 2L; 20L ]
    ]

/// A model of one layer, and what strides of the channels its input has had.
let private watched (make: unit -> Layer) =
    let layer = make ()
    let strides = Collections.Generic.List<int64>()

    layer.register_forward_hook (
        Func<Layer, torch.Tensor, torch.Tensor, torch.Tensor>(fun _ x y ->
            strides.Add(x.stride 1)
            y)
    )
    |> ignore

    torch.nn.Sequential(struct ("layer", layer)), strides

let private mended =
    testList
        "where libtorch is at fault, just the convolutions that it gets wrong have their channels side by side, and only meanwhile"
        [
            for name, touched, make, shape in layers ->
                testCase name (fun () ->
                    use _ = torch.NewDisposeScope()
                    use _ = torch.no_grad ()
                    let model, strides = watched make
                    use model = model
                    let dtype = (Seq.head (model.parameters ())).dtype
                    let x = (noise 3 shape).``to`` dtype
                    let double = x.``to`` torch.float64

                    let results =
                        [
                            for faults in [ fault; []; fault ] do
                                use _ = SoundConvolutions.within faults model |> ok
                                (model.call x).``to`` torch.float64
                        ]

                    model.call x |> ignore
                    let plain = x.stride 1

                    Expect.equal
                        (List.ofSeq strides)
                        [ for now in [ touched; false; touched; false ] -> if now then 1L else plain ]
                        "strides"

                    model.``to`` torch.float64 |> ignore
                    let right = model.call double

                    // Where libtorch is at fault the second, unmended one may be wrong.
                    for y in [ results[0]; results[2] ] do
                        Expect.isLessThan (y.minus(right).norm().number() / right.norm().number()) 1e-6 "result")
        ]

let private refused =
    testCase "a convolution of one dimension that libtorch gets wrong is the fault itself, not a wrong number"
    <| fun () ->
        for make in
            [
                (fun () -> torch.nn.Conv1d(20L, 24L, 3L) :> Layer)
                (fun () -> torch.nn.ConvTranspose1d(20L, 24L, 3L))
            ] do
            use model = torch.nn.Sequential(struct ("layer", make ()))

            match SoundConvolutions.within fault model with
            | Error errors -> Expect.equal errors fault "error"
            | Ok _ -> failtest "it was not refused"

            Expect.isOk (SoundConvolutions.within [] model) "no fault"

let all = testList "sound convolutions" [ mended; refused ]
