module SurgeryLaws

open System.Reflection
open Expecto
open TensorNets
open TorchSharp
open TorchSharp.Modules

type Tensor = torch.Tensor

/// The replacement in these laws: x ↦ gain · x.
type Gain(value: float) as this =
    inherit torch.nn.Module<Tensor, Tensor>("Gain")
    let gain = new Parameter(torch.tensor ([| float32 value |]))
    do this.RegisterComponents()
    member _.Value = gain
    override _.forward x = x * gain

let private conv () = torch.nn.Conv2d(4L, 4L, 3L, padding = 1L)

type LetField() as this =
    inherit torch.nn.Module<Tensor, Tensor>("LetField")
    let c: torch.nn.Module<Tensor, Tensor> = conv ()
    do this.RegisterComponents()
    override _.forward x = c.call x

type LetMutable() as this =
    inherit torch.nn.Module<Tensor, Tensor>("LetMutable")
    let mutable c: torch.nn.Module<Tensor, Tensor> = conv ()
    do this.RegisterComponents()
    member _.Set m = c <- m
    override _.forward x = c.call x

type LetArray() as this =
    inherit torch.nn.Module<Tensor, Tensor>("LetArray")
    let layers: torch.nn.Module<Tensor, Tensor>[] = [| conv (); torch.nn.ReLU() |]

    do
        layers |> Array.iteri (fun i m -> this.register_module (string i, m))
        this.RegisterComponents()

    override _.forward x = Array.fold (fun y (m: torch.nn.Module<Tensor, Tensor>) -> m.call y) x layers

/// A member val is set after the do bindings; without one of them that registers, the parent registers it.
type RegisteredByParent() =
    inherit torch.nn.Module<Tensor, Tensor>("RegisteredByParent")
    member val C: torch.nn.Module<Tensor, Tensor> = conv () with get, set
    override this.forward x = this.C.call x

type Holding(held: torch.nn.Module<Tensor, Tensor>) as this =
    inherit torch.nn.Module<Tensor, Tensor>("Holding")
    let inner = held
    do this.RegisterComponents()
    override _.forward x = inner.call x

[<AbstractClass>]
type Base(name: string) =
    inherit torch.nn.Module<Tensor, Tensor>(name)
    let c: torch.nn.Module<Tensor, Tensor> = conv ()
    override _.forward x = c.call x

type Inheriting() as this =
    inherit Base("Inheriting")
    do this.RegisterComponents()

type LetConv() as this =
    inherit torch.nn.Module<Tensor, Tensor>("LetConv")
    let c = conv ()
    do this.RegisterComponents()
    override _.forward x = c.call x

type MemberVal() as this =
    inherit torch.nn.Module<Tensor, Tensor>("MemberVal")
    do this.RegisterComponents()
    member val C: torch.nn.Module<Tensor, Tensor> = conv () with get, set
    override this.forward x = this.C.call x

type LetList() as this =
    inherit torch.nn.Module<Tensor, Tensor>("LetList")
    let layers: torch.nn.Module<Tensor, Tensor> list = [ conv (); torch.nn.ReLU() ]
    do layers |> List.iteri (fun i m -> this.register_module (string i, m))

    override _.forward x = List.fold (fun y (m: torch.nn.Module<Tensor, Tensor>) -> m.call y) x layers

type Captured() as this =
    inherit torch.nn.Module<Tensor, Tensor>("Captured")

    let run =
        let c = conv ()
        this.register_module ("c", c)
        fun (x: Tensor) -> c.call x

    override _.forward x = run x

type InOption() as this =
    inherit torch.nn.Module<Tensor, Tensor>("InOption")
    let c: torch.nn.Module<Tensor, Tensor> option = Some(conv ())
    do c |> Option.iter (fun m -> this.register_module ("c", m))

    override _.forward x =
        match c with
        | Some m -> m.call x
        | None -> x.alias ()

type LocalOnly() as this =
    inherit torch.nn.Module<Tensor, Tensor>("LocalOnly")
    let c = conv ()
    do this.register_module ("c", c)

    override this.forward x = (Seq.head (this.children ()) :?> torch.nn.Module<Tensor, Tensor>).call x

let private input () = torch.tensor([| for i in 0..199 -> sin (float32 i) |]).reshape(2L, 4L, 5L, 5L)

let private output (m: torch.nn.Module<Tensor, Tensor>) =
    use _ = torch.NewDisposeScope()
    use _ = torch.no_grad ()
    m.call(input ()).contiguous().data<float32>().ToArray()

let private names (m: torch.nn.Module) = List.ofSeq (m.state_dict().Keys)

let private ok result = TensorNetError.raiseErrors result

let private works: (string * string * (unit -> torch.nn.Module<Tensor, Tensor>)) list =
    [
        "a let field", "c", (fun () -> new LetField())
        "a mutable let field", "c", (fun () -> new LetMutable())
        "an array in a let field", "0", (fun () -> new LetArray())
        "a member val that its parent registers", "inner.C@", (fun () -> new Holding(new RegisteredByParent()))
        "a let field of a base class", "c", (fun () -> new Inheriting())
    ]

let private restores (kind, path, make: unit -> torch.nn.Module<Tensor, Tensor>) =
    testCase $"{kind} takes the replacement, and restored it gives the same bits"
    <| fun () ->
        use model = make ()
        let before, beforeNames = output model, names model
        use gain = new Gain 3.0
        let old = ok (Surgery.exchange path gain model)
        Expect.contains (names model) $"{path}.gain" "the gain has a name"
        Expect.notEqual (output model) before "the output changes"
        use _ = torch.no_grad ()
        let three = output model
        gain.Value.fill_ (Scalar.op_Implicit 5.0) |> ignore
        Expect.notEqual (output model) three "the gain is the one used"
        Expect.equal (ok (Surgery.exchange path old model)) gain "the gain comes back"
        Expect.equal (names model) beforeNames "the names are restored"
        Expect.equal (output model) before "the bits are restored"

let private refuses (what, path, says: string list, isKind, make: unit -> torch.nn.Module<Tensor, Tensor>) =
    testCase $"{what} is refused, and the model stays as it was"
    <| fun () ->
        use model = make ()
        let before, beforeNames = output model, names model
        use gain = new Gain 3.0

        for attempt in
            [
                fun () -> Surgery.exchange path gain model |> Result.map ignore
                fun () -> Surgery.replace path gain model
            ] do
            match attempt () with
            | Ok() -> failtest "an error is expected"
            | Error errors ->
                Expect.isTrue (List.forall isKind errors) $"{errors}"

                for word in says do
                    Expect.stringContains errors.Head.Message word "the message"

            Expect.equal (names model) beforeNames "the names"
            Expect.equal (output model) before "the bits"

let private refused: (string * string * string list * (TensorNetError -> bool) * (unit -> torch.nn.Module<Tensor, Tensor>)) list =
    [
        "a let field of the sealed type Conv2d", "c", [ "'c'"; "LetConv"; "Conv2d"; "Gain" ], _.IsSealedField, (fun () -> new LetConv())
        "a member val that is never registered", "C", [ "MemberVal"; "member val" ], _.IsUnreachableField, (fun () -> new MemberVal())
        "a layer in an F# list", "0", [ "'layers'"; "FSharpList" ], _.IsUnreachableField, (fun () -> new LetList())
        "a layer in an option", "c", [ "'c'"; "FSharpOption" ], _.IsUnreachableField, (fun () -> new InOption())
        "a layer captured by a function", "c", [ "'run'" ], _.IsUnreachableField, (fun () -> new Captured())
        "a layer registered but in no field", "c", [ "no field" ], _.IsUnreachableField, (fun () -> new LocalOnly())
    ]

/// The table of children and the registering method are TorchSharp's own: another version may lack them.
let private futureVersion (name: string) =
    testCase $"a TorchSharp without the member that {name} reads is named, not a crash"
    <| fun () ->
        use model = new LetField()

        let message =
            match typeof<TensorNetError>.Assembly.GetType "TensorNets.ModuleTables" with
            | null -> "no module of that name"
            | holders ->
                sprintf
                    "%A"
                    (holders.InvokeMember(
                        name,
                        BindingFlags.InvokeMethod ||| BindingFlags.Static ||| BindingFlags.NonPublic,
                        null,
                        null,
                        [| "_gone"; model |]
                    ))

        Expect.stringContains message "_gone" "the member"
        Expect.stringContains message "0.107" "the version"

/// A module of tensors, as buffers, and no passes.
type Holder(held: Tensor list) as this =
    inherit torch.nn.Module<Tensor, Tensor>("Holder")
    do held |> List.iteri (fun i tensor -> this.register_buffer ($"t{i}", tensor))
    override _.forward x = x.alias ()

/// Pairs of tensors, whether they have an entry in common, and how.
let private pairs: (string * bool * (unit -> Tensor * Tensor)) list =
    let rows (t: Tensor) from = t.narrow (0L, from, 2L)
    let columns (t: Tensor) from = t.narrow (1L, from, 3L)
    let of' make = fun () -> make (torch.ones (4L, 6L))
    // More bytes than a span holds; nobody writes them.
    let large make = fun () -> make (torch.empty ([| (1L <<< 31) + 100L |], dtype = torch.int8))

    [
        "itself", true, of' (fun t -> t, t.alias ())
        "what it is detached from", true, of' (fun t -> t, t.detach ())
        "its transpose", true, of' (fun t -> t, t.mT)
        "rows of it", true, of' (fun t -> t, rows t 2L)
        "columns of it", true, of' (fun t -> t, columns t 3L)
        "another", false, of' (fun t -> t, t.clone ())
        "other rows of one", false, of' (fun t -> rows t 0L, rows t 2L)
        "other columns of one", false, of' (fun t -> columns t 0L, columns t 3L)
        "nothing of it", false, of' (fun t -> t, t.narrow (0L, 2L, 0L))
        "the end of a large one", true, large (fun t -> t, t.narrow (0L, (1L <<< 31) + 90L, 10L))
        "a large one that begins within it", true, large (fun t -> t.narrow (0L, 0L, 1L <<< 31), t.narrow (0L, 50L, 1L <<< 31))
        "what is behind a large one", false, large (fun t -> t.narrow (0L, 0L, 1L <<< 31), t.narrow (0L, 1L <<< 31, 100L))
    ]

let private shared (what: string, isShared: bool, make: unit -> Tensor * Tensor) =
    testCase $"a tensor and {what}: whether they share memory is seen"
    <| fun () ->
        use _ = torch.NewDisposeScope()
        let a, b = make ()
        use m = new Holder([ torch.zeros 3L; a ])
        use user = new Holder([ b ])
        Expect.equal (SharedTensors.holds m user) isShared "one way"
        Expect.equal (SharedTensors.holds user m) isShared "the other way"

let private disposed =
    testCase "tensors that have been disposed share memory with none, and keep no module from being replaced"
    <| fun () ->
        use model = new Holding(torch.nn.Sequential(torch.nn.Linear(3L, 3L), torch.nn.BatchNorm1d 3L))
        (nonNull ((Surgery.find "inner.0" model |> ok).get_parameter "weight")).Dispose()
        (nonNull ((Surgery.find "inner.1" model |> ok).get_buffer "running_mean")).Dispose()

        for path in [ "inner.0"; "inner.1"; "inner" ] do
            Surgery.replace path (new Gain 3.0) model |> ok

let tests =
    testSequenced (
        testList
            "surgery of F# modules"
            [
                testList "shared tensors" (List.map shared pairs @ [ disposed ])
                testList "holders" (List.map restores works)
                testList "refusals" (List.map refuses refused)
                testList "versions" (List.map futureVersion [ "table"; "registration" ])
            ]
    )
