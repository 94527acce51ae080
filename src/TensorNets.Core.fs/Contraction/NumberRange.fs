namespace TensorNets

open System
open TorchSharp

/// Numbers that may be beyond their dtype: Value times two to the power of Exponent.
[<NoEquality; NoComparison>]
type internal ScaledTensor = { Value: Tensor; Exponent: int }

/// Arithmetic with an exponent apart. Powers of two round nothing and are constants to automatic differentiation.
[<RequireQualifiedAccess>]
module internal ScaledTensor =
    let plain (value: Tensor) : ScaledTensor = { Value = value; Exponent = 0 }

    /// Shifts beyond this leave nothing, or infinity, of any double.
    let private farthest = 2200

    let private shifted (e: int) (x: Tensor) : Tensor = Num.shifted (max -farthest (min farthest e)) x

    /// The power of two of the largest entry; none where there is nothing but zeros, or something infinite.
    let private exponentOf (x: Tensor) : int option =
        use _ = torch.no_grad ()
        use _ = torch.NewDisposeScope()
        let largest = x.abs().max().number()
        if largest > 0.0 && Double.IsFinite largest then Some(Math.ILogB largest) else None

    /// The same numbers with a largest entry of 1 to 2.
    let normal (scaled: ScaledTensor) : ScaledTensor =
        match exponentOf scaled.Value with
        | Some e when e <> 0 -> { Value = shifted -e scaled.Value; Exponent = scaled.Exponent + e }
        | _ -> scaled

    /// The sum of numbers times factors.
    let sum (terms: (float * ScaledTensor) list) : ScaledTensor =
        let weighted =
            terms
            |> List.map (fun (factor, term) ->
                if factor = 1.0 then term else { term with Value = term.Value.mul (Num.like term.Value factor) })

        // Zeros have no exponent.
        let found =
            weighted
            |> List.filter (fun term -> (exponentOf term.Value).IsSome || not (term.Value.isfinite().all().truth()))

        match found with
        | [] -> weighted.Head
        | _ ->
            let largest = found |> List.map _.Exponent |> List.max

            {
                Value =
                    found
                    |> List.map (fun term -> shifted (term.Exponent - largest) term.Value)
                    |> List.reduce (fun a b -> a.plus b)
                Exponent = largest
            }

    /// The root of a number that rounding may have left below zero.
    let sqrt (square: ScaledTensor) : ScaledTensor =
        let odd = abs (square.Exponent % 2)
        let value = if odd = 0 then square.Value else square.Value.mul (Num.like square.Value 2.0)
        { Value = value.maximum(Num.like value 0.0).sqrt(); Exponent = (square.Exponent - odd) / 2 }

    /// As numbers of a dtype: zero or infinite where they are beyond it.
    let toDType (dtype: torch.ScalarType) (scaled: ScaledTensor) : Tensor =
        let value = if scaled.Exponent = 0 then scaled.Value else shifted scaled.Exponent scaled.Value
        if value.dtype = dtype then value else value.``to`` dtype

    /// The one number as a double: zero or infinite where it is beyond one.
    let number (scaled: ScaledTensor) : float = Math.ScaleB(scaled.Value.number (), scaled.Exponent)

    let private log10Of2 = Math.Log10 2.0

    /// The logarithm to the base ten of the one number; minus infinity of zero.
    let log10 (scaled: ScaledTensor) : Tensor =
        let log = scaled.Value.log10 ()
        if scaled.Exponent = 0 then log else log.plus (Num.like log (float scaled.Exponent * log10Of2))

    /// The one number in a dtype, or the error that it is beyond it.
    let held (what: string) (dtype: torch.ScalarType) (scaled: ScaledTensor) : Result<Tensor, TensorNetError list> =
        let found = toDType dtype scaled

        if scaled.Exponent = 0 && scaled.Value.dtype = dtype then
            Ok found
        else
            let number, back = scaled.Value.number (), found.number ()

            if Double.IsFinite number && number <> 0.0 && (back = 0.0 || not (Double.IsFinite back)) then
                let log = Math.Log10(abs number) + float scaled.Exponent * log10Of2
                Error [ TensorNetError.OutOfRange(what, log, string dtype) ]
            else
                Ok found

/// In which numbers what is quadratic in the cores of a network can be computed.
[<RequireQualifiedAccess>]
type internal NumberRange =
    /// In those of the cores.
    | Own
    /// In doubles.
    | Double
    /// In none, without an exponent apart.
    | Beyond

/// Bounds on all that is met in a contraction of two copies of a network, from the largest entries of its cores.
[<RequireQualifiedAccess>]
module internal NumberRange =
    /// The powers of two that two copies of cores may grow to, and fall to: a float32 ends at 127 and -126, a double at 1,023 and -1,022.
    /// Room is left below for entries that are small beside the largest.
    let private limits (dtype: torch.ScalarType) = if dtype = torch.float64 then 1000.0, -900.0 else 120.0, -80.0

    /// The logarithm to the base two of the largest entry of each core.
    let private sizes (spec: Spec) (lookup: string -> Tensor) : float[] =
        use _ = torch.no_grad ()
        use _ = torch.NewDisposeScope()

        let largest =
            [|
                for core in spec.Cores ->
                    let tensor: Tensor = lookup core.Name
                    tensor.abs().max()
            |]

        use all = torch.stack(largest).detach().cpu().``to``(torch.float64).contiguous()
        all.data<float>().ToArray() |> Array.map Math.Log2

    /// No product of norms of cores, or of fewer of them, is larger than the first number or, where nothing cancels, much smaller than the
    /// second.
    let private extent (spec: Spec) (sizes: float[]) : float * float =
        let entries =
            spec.Cores
            |> List.map (fun core -> core.Axes |> List.sumBy (fun axis -> Math.Log2(float (Spec.dim axis spec))))

        let carriers = spec.Cores |> List.collect _.Axes |> List.countBy id
        // Sums over axes that one core carries alone, the multiplicity and the identities in place of the core of a term.
        let lone =
            carriers
            |> List.sumBy (fun (axis, n) -> if n = 1 && not (Spec.isOpen axis spec) then Math.Log2(float (Spec.dim axis spec)) else 0.0)

        let term = List.max entries + Math.Log2(float spec.Cores.Length)
        let known = Seq.zip sizes entries |> Seq.filter (fun (size, _) -> not (Double.IsInfinity size))
        let growth = known |> Seq.sumBy (fun (size, entries) -> max 0.0 (2.0 * size + entries))
        let fall = known |> Seq.sumBy (fun (size, _) -> min 0.0 (2.0 * size))
        growth + lone + term, fall

    /// What serves for cores of a dtype.
    let ofDoubled (spec: Spec) (dtype: torch.ScalarType) (lookup: string -> Tensor) : NumberRange =
        let sizes = sizes spec lookup
        let growth, fall = extent spec sizes

        let holds dtype =
            let most, least = limits dtype
            growth <= most && fall >= least

        // Numbers that are not finite stay so in any.
        if
            sizes |> Array.exists (fun size -> Double.IsNaN size || Double.IsPositiveInfinity size)
            || holds dtype
        then
            NumberRange.Own
        elif dtype <> torch.float64 && holds torch.float64 then
            NumberRange.Double
        else
            NumberRange.Beyond

    /// What is quadratic in the cores: plainly in their dtype or in doubles, or with exponents apart in doubles. Numbers of 16 bits are
    /// computed with in float32.
    let choose
        (spec: Spec)
        (dtype: torch.ScalarType)
        (lookup: string -> Tensor)
        (plain: torch.ScalarType -> (string -> Tensor) -> 'T)
        (scaled: (string -> ScaledTensor) -> 'T)
        : 'T =
        let dtype, lookup =
            if HalfPrecision.is dtype then torch.float32, lookup >> HalfPrecision.widened else dtype, lookup

        let wide name = (lookup name).``to`` torch.float64

        match ofDoubled spec dtype lookup with
        | NumberRange.Own -> plain dtype lookup
        | NumberRange.Double -> plain torch.float64 wide
        | NumberRange.Beyond -> scaled (wide >> ScaledTensor.plain)
