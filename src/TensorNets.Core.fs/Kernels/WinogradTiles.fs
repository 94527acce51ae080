namespace TensorNets

#nowarn "9"

open System
open Microsoft.FSharp.NativeInterop

/// Planes cut into pieces of `Size` rows and columns, two from one to the next, that begin so far before the planes.
[<Struct>]
type internal Pieces = { Channels: int; Height: int; Width: int; Above: int; Left: int; Size: int }

/// Tiles of 2×2 positions of the results of a convolution with nine taps, some rows of tiles at a time, those of all images after each other. The sixteen numbers of a
/// tile lie in matrices of tiles × channels, one for each. `desk`: room for what lies there in between.
[<NoEquality; NoComparison>]
type internal Tiles =
    {
        Window: PlaneWindow
        Images: int
        /// Channels that are summed over, and that come out.
        From: int
        Into: int
    }

    /// Tiles at a time: fewer read the kernel more often, more leave the second cache. Measured for 32 to 512 channels.
    static member private Most = 64

    /// Tiles of whole blocks of a product.
    static member Whole(tiles: int) = (tiles + Tile.Rows - 1) / Tile.Rows * Tile.Rows

    /// Rows of tiles of an image, and tiles of a row.
    member z.Down = (z.Window.OutHeight + 1) / 2
    member z.Across = (z.Window.OutWidth + 1) / 2

    /// All rows of tiles, and all tiles.
    member z.Rows = z.Images * z.Down
    member z.Count = int64 z.Rows * int64 z.Across

    /// Rows at a time.
    member z.Together = max 1 (min z.Rows (Tiles.Most / z.Across))

    /// Parts of so many rows that can each be taken together, so many or more.
    member z.Parts(rows: int, wanted: int) = max ((rows + z.Together - 1) / z.Together) (min rows wanted)

    /// The distance between two of the sixteen numbers of a tile, with room for all tiles that are taken together. With a power of two between them they would take the same
    /// places of the first cache.
    member z.Next(channels: int) = Tiles.Whole(z.Together * z.Across) * channels + 16

    /// Room for the tiles that are taken together, and for what lies in between: positions under them, and one tile.
    member z.Room(channels: int) = new Scratch<float32>(Winograd.Numbers * z.Next channels)

    member private z.Positions =
        (2 * z.Together + 2) * max (z.From * z.Window.Width) (z.Into * z.Window.OutWidth)

    member z.Desk = new Scratch<float32>(z.Positions + Winograd.Numbers * max z.From z.Into)

    /// Some rows of tiles by image: the image, its first and last row, and the tiles before them.
    member private z.Spans(low: int, high: int, act: int -> int -> int -> int -> unit) : unit =
        let mutable row = low

        while row < high do
            let image, first = row / z.Down, row % z.Down
            let count = min (high - row) (z.Down - first)
            act image first (first + count - 1) ((row - low) * z.Across)
            row <- row + count

    /// So many numbers, or zeros where there are none.
    static member private Copy(numbers: int, from: Floats, into: Floats) : unit =
        let into = Span<float32>(NativePtr.toVoidPtr into, numbers)

        if NativePtr.isNullPtr from then
            into.Clear()
        else
            Span<float32>(NativePtr.toVoidPtr from, numbers).CopyTo into

    /// Each piece of some rows of the planes of an image. `act`: the number of the tile, where its positions lie, each with its channels side by side, and the distance of its rows.
    member private z.Cut(p: Pieces, planes: Floats, first: int, last: int, desk: Floats, act: int -> Floats -> int -> unit) : unit =
        let rim = NativePtr.add desk z.Positions
        let top, bottom = max 0 (2 * first - p.Above), min p.Height (2 * last - p.Above + p.Size)
        let pitch = p.Width * p.Channels
        let inline at y x = NativePtr.add desk ((y - top) * pitch + x * p.Channels)
        let inline isInside y x = y >= 0 && y < p.Height && x >= 0 && x < p.Width

        if bottom > top then
            Turn.One(p.Channels, (bottom - top) * p.Width, NativePtr.add planes (top * p.Width), p.Height * p.Width, desk, p.Channels)

        for row in first..last do
            for column in 0 .. z.Across - 1 do
                let tile = (row - first) * z.Across + column
                let y, x = 2 * row - p.Above, 2 * column - p.Left

                if isInside y x && isInside (y + p.Size - 1) (x + p.Size - 1) then
                    act tile (at y x) pitch
                else
                    for i in 0 .. p.Size - 1 do
                        for j in 0 .. p.Size - 1 do
                            let from = if isInside (y + i) (x + j) then at (y + i) (x + j) else NativePtr.ofNativeInt 0n
                            Tiles.Copy(p.Channels, from, NativePtr.add rim ((i * p.Size + j) * p.Channels))

                    act tile rim (p.Size * p.Channels)

    /// The transforms of the tiles of some rows of all images, and zeros in what fills the last block.
    member z.Input(images: Floats, low: int, high: int, desk: Floats, into: Floats) : unit =
        let w, s, next = z.Window, z.From, z.Next z.From
        let count = (high - low) * z.Across

        let pieces =
            {
                Channels = s
                Height = w.Height
                Width = w.Width
                Above = w.Above
                Left = w.Left
                Size = Winograd.Inside
            }

        for k in 0 .. Winograd.Numbers - 1 do
            Tiles.Copy((Tiles.Whole count - count) * s, NativePtr.ofNativeInt 0n, NativePtr.add into (k * next + count * s))

        let image i first last before =
            z.Cut(
                pieces,
                NativePtr.add images (i * s * w.Height * w.Width),
                first,
                last,
                desk,
                fun tile from row -> Winograd.Input(s, from, row, s, NativePtr.add into ((before + tile) * s), next)
            )

        z.Spans(low, high, image)

    /// The transforms of the tiles of some rows of the gradient of all results, of so many channels from one on.
    member z.OutputBack(gradient: Floats, low: int, high: int, channel: int, channels: int, desk: Floats, into: Floats) : unit =
        let w, next = z.Window, z.Next channels

        let pieces =
            {
                Channels = channels
                Height = w.OutHeight
                Width = w.OutWidth
                Above = 0
                Left = 0
                Size = Winograd.Outside
            }

        let image i first last before =
            let planes = NativePtr.add gradient ((i * z.Into + channel) * w.OutHeight * w.OutWidth)

            z.Cut(
                pieces,
                planes,
                first,
                last,
                desk,
                fun tile from row ->
                    Winograd.OutputBack(channels, from, row, channels, NativePtr.add into ((before + tile) * channels), next)
            )

        z.Spans(low, high, image)

    /// Some rows of all results, of so many channels from one on, from the products of the tiles of these channels. `first`: a value for each channel, or null.
    member z.Output
        (products: Floats, low: int, high: int, channel: int, channels: int, first: Floats, desk: Floats, results: Floats)
        : unit =
        let w, next, rim = z.Window, z.Next channels, NativePtr.add desk z.Positions
        let pitch, plane = w.OutWidth * channels, w.OutHeight * w.OutWidth
        let first = if NativePtr.isNullPtr first then first else NativePtr.add first channel

        let image i top last before =
            for row in top..last do
                for column in 0 .. z.Across - 1 do
                    let tile = NativePtr.add products ((before + (row - top) * z.Across + column) * channels)
                    let into = NativePtr.add desk (2 * (row - top) * pitch + 2 * column * channels)
                    let rows, columns = min 2 (w.OutHeight - 2 * row), min 2 (w.OutWidth - 2 * column)

                    if rows = 2 && columns = 2 then
                        Winograd.Output(channels, tile, next, first, into, pitch, channels)
                    else
                        Winograd.Output(channels, tile, next, first, rim, 2 * channels, channels)

                        for y in 0 .. rows - 1 do
                            Tiles.Copy(columns * channels, NativePtr.add rim (2 * y * channels), NativePtr.add into (y * pitch))

            let rows = min (2 * (last - top + 1)) (w.OutHeight - 2 * top)
            let into = NativePtr.add results ((i * z.Into + channel) * plane + 2 * top * w.OutWidth)
            Turn.One(rows * w.OutWidth, channels, desk, channels, into, plane)

        z.Spans(low, high, image)
