namespace TensorNets

open System
open System.Globalization
open System.IO
open System.Threading
open TorchSharp

/// The network of a large kernel, made in rounds, each from what the one before it has left. The last of them stands in a file, from
/// which a run that was ended goes on to the same bits.
[<RequireQualifiedAccess>]
module internal LayerRounds =
    /// FLOPs of a round: under two minutes at the 30 GFLOP/s that one thread does for CP of rank 756 over 512×9×512, ten at a fifth of
    /// that. A sweep of correction takes as long there as six of least squares.
    let private usual, private sweepsOfCorrection = 3e12, 6.0

    /// A correction of fewer sweeps has no search for all cores together, and no directions to extrapolate by.
    let private leastCorrection = 6

    let private asked = AsyncLocal<(float * (unit -> unit)) option>()

    /// Rounds of other FLOPs for the flow of control that this is called in, until what comes out is disposed; `told` after each.
    let ofFlops (flops: float) (told: unit -> unit) : IDisposable =
        let before = asked.Value
        asked.Value <- Some(flops, told)

        { new IDisposable with
            member _.Dispose() = asked.Value <- before
        }

    /// A network on its way: the sweeps of least squares and of correction that are left.
    type private Point = { Draft: LayerDraft.Draft; Fitting: int; Correcting: int }

    /// The sweeps of a round of least squares, and of correction, by the products of a sweep: one for each core.
    let private sweepsOf (spec: Spec) : int * int =
        let flops = asked.Value |> Option.map fst |> Option.defaultValue usual
        let sweep = float spec.Cores.Length * (Plan.make Order.Auto spec).Flops
        let most (cost: float) = int (min 1e6 (max 1.0 (floor (flops / cost))))
        most sweep, max leastCorrection (most (sweepsOfCorrection * sweep))

    /// The file for the rounds of a group of a layer, beside the layer's own.
    let fileOf (group: int) (path: string) : string = Path.ChangeExtension(path, $".{group}.draft.safetensors") |> nonNull

    /// Deletes the files of so many groups, if their layer stands in its own.
    let forget (groups: int) (path: string) : unit =
        if File.Exists path then
            for group in 0 .. groups - 1 do
                try
                    File.Delete(fileOf group path)
                with
                | :? IOException
                | :? UnauthorizedAccessException -> ()

    /// To be raised with the meaning of what stands in the file.
    let private version = "1"

    let private text (x: float) = x.ToString("R", CultureInfo.InvariantCulture)

    let private save (path: string) (point: Point) : unit =
        let draft = point.Draft

        let metadata =
            [
                "draft", version
                "spec", Spec.print draft.Network.Spec
                "fitting", string point.Fitting
                "correcting", string point.Correcting
                "bound", draft.Bound |> Option.map text |> Option.defaultValue ""
                "before", text draft.Before
                "balanced", string draft.IsBalanced
            ]

        // A disk that is full costs the checkpoint, not the run.
        List.zip [ for core in draft.Network.Spec.Cores -> core.Name ] (List.ofSeq draft.Network.Cores)
        |> SafeTensors.save path metadata
        |> ignore

    /// What stands in a file; none where there is none, or one that does not hold a network of the shape.
    let private load (path: string) (device: torch.Device) (shape: int64 list) : Point option =
        let said (file: SafeTensorReader) key =
            match file.Metadata.TryGetValue key with
            | true, value -> value
            | _ -> ""

        let number (value: string) =
            match Double.TryParse(value, CultureInfo.InvariantCulture) with
            | true, x -> Some x
            | _ -> None

        let point said network =
            match number (said "fitting"), number (said "correcting"), number (said "before") with
            | Some fitting, Some correcting, Some before ->
                Some
                    {
                        Draft =
                            {
                                Network = network
                                Bound = number (said "bound")
                                IsBalanced = said "balanced" = string true
                                IsFinal = false
                                Before = before
                                Fall = 0.0
                            }
                        Fitting = int fitting
                        Correcting = int correcting
                    }
            | _ -> None

        let read (file: SafeTensorReader) =
            match said file "draft" = version, Spec.parse [] (said file "spec") with
            | true, Ok spec when Spec.shape spec = shape ->
                file.ReadAll()
                |> Result.map (List.map (fun (name, core) -> name, core.``to`` device))
                |> Result.bind (Network.create spec)
                |> Result.map (point (said file))
            | _ -> Ok None

        if File.Exists path then SafeTensors.read path read |> Result.toOption |> Option.flatten else None

    /// Written unless the run was cancelled within the round; the network of the round before is done with.
    let private reached (options: CompressOptions) (path: string option) (before: Point option) (point: Point) : Point =
        if not options.Cancellation.IsCancellationRequested then
            path |> Option.iter (fun path -> save path point)

        asked.Value |> Option.iter (fun (_, told) -> told ())

        match before with
        | Some before when not (obj.ReferenceEquals(before.Draft.Network, point.Draft.Network)) ->
            (before.Draft.Network :> IDisposable).Dispose()
        | _ -> ()

        point

    /// A kernel's network, near the error of least squares and corrected, without a limit of time. `path`: the file of the last round.
    let run
        (options: CompressOptions)
        (path: string option)
        norm
        (spec: Spec)
        (kernel: Tensor)
        : Result<LayerDraft.Draft, TensorNetError list> =
        let fitting, correcting = sweepsOf spec
        // A network of one round has nothing to go on from.
        let path = if fitting >= options.Sweeps && correcting >= options.Corrections then None else path
        let reached = reached options path

        let fitted before left (fit: Fit) =
            reached
                before
                {
                    Draft = LayerDraft.ofFit options spec fit
                    Fitting = if fit.Stop = Stop.MaxSweeps then max 0 left else 0
                    Correcting = options.Corrections
                }

        let rec on (point: Point) =
            if options.Cancellation.IsCancellationRequested then
                Ok point.Draft
            elif point.Fitting > 0 then
                let count = min fitting point.Fitting

                LayerDraft.refitted options count norm kernel point.Draft
                |> Result.bind (fitted (Some point) (point.Fitting - count) >> on)
            elif point.Correcting > 0 && point.Draft.Bound.IsSome then
                let count = min correcting point.Correcting

                LayerDraft.corrected options count None norm kernel point.Draft
                |> Result.bind (fun next ->
                    let left = if next.Fall > options.Tolerance then point.Correcting - count else 0
                    on (reached (Some point) { point with Draft = next; Correcting = left }))
            else
                Ok point.Draft

        if not (LayerDraft.isSwept norm spec kernel) then
            LayerDraft.first options None norm spec kernel
        else
            match path |> Option.bind (fun path -> load path kernel.device (Spec.shape spec)) with
            | Some point -> on point
            | None ->
                LayerDraft.fit options fitting None norm spec kernel
                |> Result.bind (fitted None (options.Sweeps - fitting) >> on)
