namespace TensorNets

/// Numbers as products of factors that are as equal as can be, for the rows and columns of TT-matrices.
[<RequireQualifiedAccess>]
module internal BalancedFactors =
    /// A number as a product of so many factors, as equal as its primes allow, the largest first.
    let exact (count: int) (n: int) : int list =
        let rec primes n p =
            if n = 1 then []
            elif p * p > n then [ n ]
            elif n % p = 0 then p :: primes (n / p) p
            else primes n (p + 1)

        (List.replicate count 1, primes n 2 |> List.sortDescending)
        ||> List.fold (fun factors prime ->
            match List.sort factors with
            | least :: rest -> least * prime :: rest
            | [] -> [])
        |> List.sortDescending

    /// So many factors whose product is the least above a number or the number itself, each the root of what the ones before it leave,
    /// rounded up.
    let private rounded (count: int) (n: int) : int list =
        let rec next count n =
            if count = 1 then
                [ n ]
            else
                let root = System.Math.Pow(float n, 1.0 / float count)
                let factor = max 1 (int (ceil (root - 1e-9)))
                factor :: next (count - 1) ((n + factor - 1) / factor)

        next count n |> List.sortDescending

    /// A largest factor of more than this many times the least has cores as large as a matrix's.
    let private uneven = 2

    /// So many factors for the rows of an embedding of so many tokens: those of the number itself where they are about equal, else ones
    /// whose product is somewhat larger.
    let covering (count: int) (n: int) : int list =
        let factors = exact count n
        if List.max factors <= uneven * List.min factors then factors else rounded count n
