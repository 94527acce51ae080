/// Random networks: shapes, ranks and a seed are drawn; the numbers come from the seed. A failing case prints its network as `Spec.parse`
/// reads it, and the seed.
///
/// Every law is tried on 100 cases. For more, all laws or those of one list:
///
///     LAW_CASES=1000 ./build.sh test
///     LAW_CASES=1000 ./build.sh test --filter Properties.rewrites
module Generators

open System
open FsCheck
open FsCheck.FSharp
open Expecto
open TorchSharp
open TensorNets

let ok = Golden.ok

let specOk (result: Result<Spec, SpecError list>) =
    match result with
    | Ok spec -> spec
    | Error errors -> failtestf "%A" (errors |> List.map _.Message)

/// Any network: axes by number, dimensions, cores as lists of axes, output. Hyperedges, axes of one core, open axes in several cores,
/// dimensions of one and cores without bonds all occur.
[<StructuredFormatDisplay("{Text}")>]
type AnyNetwork =
    {
        Dims: int list
        Cores: int list list
        Output: int list
        Seed: int
    }

    member this.Spec =
        let axis i = Axis(string (char (int 'a' + i)))

        let used = List.concat this.Cores |> List.distinct |> List.sort

        Spec.create
            (used |> List.map (fun i -> axis i, this.Dims[i]))
            (this.Cores |> List.mapi (fun i axes -> { Name = Spec.positionName i; Axes = List.map axis axes }))
            (List.map axis this.Output)
        |> specOk

    member this.Text = $"{Spec.print this.Spec} (seed {this.Seed})"

    override this.ToString() = this.Text

let private valid (network: AnyNetwork) =
    not network.Cores.IsEmpty
    && network.Output |> List.forall (fun i -> network.Cores |> List.exists (List.contains i))

let subset (items: 'a list) =
    gen {
        let! flags = Gen.listOfLength items.Length (Gen.elements [ true; false ])
        let! shuffled = Gen.shuffle items
        return List.zip flags (List.ofSeq shuffled) |> List.filter fst |> List.map snd
    }

let anyNetwork =
    gen {
        let! axes = Gen.choose (1, 6)
        let! cores = Gen.choose (1, 5)

        let! dims =
            Gen.listOfLength axes (Gen.frequency [ 1, Gen.constant 1; 4, Gen.constant 2; 4, Gen.constant 3 ])

        let! lists = Gen.listOfLength cores (subset [ 0 .. axes - 1 ])
        let! output = subset (List.concat lists |> List.distinct)
        let! seed = Gen.choose (0, 1_000_000)

        return { Dims = dims; Cores = lists; Output = List.truncate 4 output; Seed = seed }
    }

let private without i (list: 'a list) = List.removeAt i list

let shrinkNetwork (n: AnyNetwork) =
    seq {
        for i in 0 .. n.Cores.Length - 1 do
            { n with Cores = without i n.Cores }

        for i in List.distinct (List.concat n.Cores) do
            { n with
                Cores = n.Cores |> List.map (List.filter ((<>) i))
                Output = n.Output |> List.filter ((<>) i)
            }

        for i in 0 .. n.Output.Length - 1 do
            { n with Output = without i n.Output }

        for i in 0 .. n.Dims.Length - 1 do
            if n.Dims[i] > 1 then
                { n with Dims = n.Dims |> List.mapi (fun j d -> if i = j then d - 1 else d) }
    }
    |> Seq.filter valid

/// A named format with admissible ranks.
[<StructuredFormatDisplay("{Text}")>]
type FormatCase =
    {
        Shape: int list
        Format: Format
        Seed: int
    }

    member this.Spec =
        match Format.spec this.Shape this.Format with
        | Ok spec -> spec
        | Error errors -> failtestf "%A" (errors |> List.map _.Message)

    member this.Text = $"%A{this.Format} over %A{this.Shape}: {Spec.print this.Spec} (seed {this.Seed})"
    override this.ToString() = this.Text

let private ranks count = Gen.listOfLength count (Gen.choose (1, 3))

/// A random dimension tree over modes, with ranks.
let rec private dimTree (modes: int list) =
    gen {
        match modes with
        | [ mode ] -> return DimTree.Mode mode
        | modes ->
            let! parts = Gen.choose (2, min 3 modes.Length)
            let! shuffled = Gen.shuffle modes
            let groups = List.ofSeq shuffled |> List.splitInto parts

            let! children =
                groups |> List.map (fun group -> Gen.zip (Gen.choose (1, 2)) (dimTree group)) |> Gen.sequenceToList

            return DimTree.Split children
    }

/// The format with every rank lowered to 1, which is always admissible.
let rec private lowest format =
    let ones list = list |> List.map (fun _ -> 1)

    let rec tree t =
        match t with
        | DimTree.Mode m -> DimTree.Mode m
        | DimTree.Split children -> DimTree.Split(children |> List.map (fun (_, child) -> 1, tree child))

    match format with
    | Format.CP _ -> Format.CP 1
    | Format.Tucker r -> Format.Tucker(ones r)
    | Format.Tucker2 _ -> Format.Tucker2(1, 1)
    | Format.TensorTrain r -> Format.TensorTrain(ones r)
    | Format.TensorChain r -> Format.TensorChain(ones r)
    | Format.HierarchicalTucker t -> Format.HierarchicalTucker(tree t)
    | Format.BlockTerm(_, r) -> Format.BlockTerm(1, ones r)
    | Format.TensorTrainMatrix(m, n, r) -> Format.TensorTrainMatrix(m, n, ones r)
    | Format.Dense -> Format.Dense

let private formatOver (shape: int list) =
    gen {
        let n = shape.Length
        let! kind = Gen.choose (0, 6)

        match kind with
        | 0 ->
            let! rank = Gen.choose (1, 4)
            return Format.CP rank
        | 1 ->
            let! r = ranks n
            return Format.Tucker r
        | 2 ->
            let! r = ranks 2
            return Format.Tucker2(r[0], r[1])
        | 3 ->
            let! r = ranks (n - 1)
            return Format.TensorTrain r
        | 4 ->
            let! r = ranks n
            return Format.TensorChain r
        | 5 ->
            let! tree = dimTree [ 0 .. n - 1 ]
            return Format.HierarchicalTucker tree
        | _ ->
            let! blocks = Gen.choose (1, 2)
            let! r = Gen.listOfLength n (Gen.choose (1, 2))
            return Format.BlockTerm(blocks, r)
    }

let formatCase =
    gen {
        let! matrix = Gen.choose (0, 7)
        let! seed = Gen.choose (0, 1_000_000)

        if matrix = 0 then
            let! rows = Gen.listOfLength 2 (Gen.choose (2, 3))
            let! columns = Gen.listOfLength 2 (Gen.choose (2, 3))
            let! rank = Gen.choose (1, 4)
            let product = List.fold (*) 1

            return
                {
                    Shape = [ product rows; product columns ]
                    Format = Format.TensorTrainMatrix(rows, columns, [ rank ])
                    Seed = seed
                }
        else
            let! n = Gen.choose (3, 4)
            let! shape = Gen.listOfLength n (Gen.choose (2, if n = 3 then 5 else 3))
            let! format = formatOver shape

            let admissible =
                match Format.spec shape format with
                | Ok _ -> format
                | Error _ -> lowest format

            return { Shape = shape; Format = admissible; Seed = seed }
    }

type Arbitraries =
    static member AnyNetwork() = Arb.fromGenShrink (anyNetwork, shrinkNetwork)

    static member FormatCase() =
        Arb.fromGenShrink (
            formatCase,
            (fun c ->
                seq {
                    if c.Seed > 0 then
                        { c with Seed = c.Seed / 2 }
                })
        )

/// How many cases each law is tried on; `LAW_CASES` raises it.
let cases =
    match Environment.GetEnvironmentVariable "LAW_CASES" with
    | null
    | "" -> 100
    | text -> int text

let config = { FsCheckConfig.defaultConfig with maxTest = cases; arbitrary = [ typeof<Arbitraries> ] }

/// A law over drawn cases; every tensor that it makes is disposed.
let law name (check: 'a -> unit) =
    testPropertyWithConfig config name (fun (case: 'a) ->
        use _ = torch.NewDisposeScope()
        check case)

/// As `law`, over cases that only one list of laws draws.
let lawOver (cases: Arbitrary<'a>) name (check: 'a -> unit) =
    testPropertyWithConfig
        config
        name
        (Prop.forAll cases (fun case ->
            use _ = torch.NewDisposeScope()
            check case))

/// As `law`, for laws that cost more: a fifth of the cases.
let costlyLaw name (check: 'a -> unit) =
    testPropertyWithConfig { config with maxTest = max 20 (cases / 5) } name (fun (case: 'a) ->
        use _ = torch.NewDisposeScope()
        check case)

/// As `lawOver`, for laws that cost more: a fifth of the cases.
let costlyLawOver (cases: Arbitrary<'a>) name (check: 'a -> unit) =
    testPropertyWithConfig
        { config with maxTest = max 20 (config.maxTest / 5) }
        name
        (Prop.forAll cases (fun case ->
            use _ = torch.NewDisposeScope()
            check case))

/// After all parallel tests, with one thread: the same bits are claimed for that only.
let onOneThread name (check: unit -> unit) =
    testSequenced (
        testCase name (fun () ->
            use _ = torch.NewDisposeScope()
            let threads = torch.get_num_threads ()
            torch.set_num_threads 1

            try
                check ()
            finally
                torch.set_num_threads threads)
    )

let randomNetwork (seed: int) (spec: Spec) = Network.random torch.float64 (uint64 seed) spec

let noise (seed: int) (shape: int64 seq) =
    use generator = new torch.Generator(uint64 seed)
    torch.randn (Seq.toArray shape, dtype = torch.float64, generator = generator)

/// A random network of the case as a tensor, and white noise of a share of its norm.
let targetWith (share: float) (case: FormatCase) =
    let clean = Contraction.reconstruct (randomNetwork case.Seed case.Spec)
    let rough = noise (case.Seed + 1) clean.shape
    clean.plus (rough.mul (clean.norm().div(rough.norm ()).mul(Num.tensor share)))

/// The same bits.
let identical (a: torch.Tensor) (b: torch.Tensor) =
    use a = a.detach ()
    use b = b.detach ()
    a.Equals b

let entries (tensor: torch.Tensor) = ConstrainedQuadratics.toArray tensor

/// The cores of a network as arrays, for the oracle.
let arrays (network: Network) = network.Spec.Cores |> List.map (fun core -> core.Name, entries network[core.Name]) |> Map.ofList

/// The oracle's tensor of a network, over the same cores or those of the network that it was derived from.
let oracle (spec: Spec) (network: Network) =
    let shape = Spec.shape spec |> List.toArray
    torch.tensor(Oracle.contract spec (arrays network), dtype = torch.float64).reshape shape

/// A core with a matrix applied along one of its axes.
let along (core: torch.Tensor) (axis: int) (matrix: torch.Tensor) =
    core.movedim([| int64 axis |], [| -1L |]).matmul(matrix).movedim([| -1L |], [| int64 axis |])

/// The same tensor in a random gauge: a matrix and its inverse on every ordinary bond, scalings of product one on hyperedges.
let regauged (seed: int) (network: Network) =
    let spec = network.Spec
    let cores = network.Cores |> Seq.toArray
    let place (core: Core) = List.findIndex ((=) core) spec.Cores
    let dim (core: Core) axis = List.findIndex ((=) axis) core.Axes

    Spec.bonds spec
    |> List.iteri (fun i axis ->
        let n = int64 (Spec.dim axis spec)

        match Spec.carriers axis spec with
        | [ a; b ] ->
            let m = torch.eye(n, dtype = torch.float64).plus((noise (seed + i) [ n; n ]).mul(Num.tensor 0.4))

            cores[place a] <- along cores[place a] (dim a axis) m
            cores[place b] <- along cores[place b] (dim b axis) (torch.linalg.inv m).mT
        | carriers when carriers.Length > 2 ->
            let logs = carriers |> List.mapi (fun j _ -> noise (seed + 17 * j + i) [ n ])

            let mean =
                (List.reduce (fun (x: torch.Tensor) y -> x.plus (y)) logs).div(Num.tensor (float logs.Length))

            List.iter2
                (fun core (log: torch.Tensor) ->
                    cores[place core] <- along cores[place core] (dim core axis) (torch.diag (log.minus(mean).exp())))
                carriers
                logs
        | _ -> ())

    Golden.networkOf spec (List.ofArray cores)

/// One core corrected by itself, all others fixed, from ‖K − T‖ as it stands.
let internal corrected (full: Plan) (block: Block) lookup (target: torch.Tensor) (bound: float) (error: float) : BlockResult =
    let reach =
        (full.Spec.Cores, Sensitivity.run (Sensitivity.plan full.Spec) target.dtype target.device lookup)
        ||> Seq.map2 (fun core part -> (lookup core.Name: torch.Tensor).norm().item<float>() * sqrt (max 0.0 (part.item<float>())))
        |> Seq.max

    let outcome =
        LocalCorrection.solve
            {
                Cache = None
                Full = full
                Block = block
                Lookup = lookup
                Target = target
                Norm2 = target.squared().sum().item<float>()
                Bound = bound
                Error = lazy error
                Reach = reach
                Lambda = None
            }

    outcome.Result
